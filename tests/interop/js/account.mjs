// Accounts and devices of matrix-js-sdk.

import { createHmac, randomBytes } from "node:crypto";
import loglevel from "loglevel";
import { ClientEvent, SyncState, createClient } from "matrix-js-sdk";

// What the SDK logs beside the logger that it is given: errors alone.
loglevel.getLogger("matrix").setLevel("error");

// The one thing that matrix-js-sdk needs of Node.js 22 and that 20, still in use, lacks.
Promise.withResolvers ??= function () {
    let resolve, reject;
    const promise = new this((resolved, rejected) => {
        resolve = resolved;
        reject = rejected;
    });
    return { promise, resolve, reject };
};

/** The server that `NAME` (its base URL) and `NAME_REGISTRATION` in the environment describe. */
export function serverFromEnvironment(name) {
    const baseUrl = process.env[name];
    const registration = process.env[`${name}_REGISTRATION`];
    if (!baseUrl || !registration) {
        throw new Error(`${name} and ${name}_REGISTRATION must be set; tests/interop/run sets them`);
    }
    return { baseUrl, registration };
}

/** Registers a user whose name was never used before, logs a device in, and waits for its first sync with `options`. */
export async function newDevice(server, name, options = {}) {
    const localpart = `${name}-${randomBytes(4).toString("hex")}`;
    const password = randomBytes(16).toString("hex");
    await register(server, localpart, password);

    const login = {
        type: "m.login.password",
        identifier: { type: "m.id.user", user: localpart },
        password,
    };
    const complaints = [];
    const logger = complainingLogger(complaints);
    const session = await createClient({ baseUrl: server.baseUrl, logger }).loginRequest(login);
    const client = createClient({
        baseUrl: server.baseUrl,
        accessToken: session.access_token,
        userId: session.user_id,
        deviceId: session.device_id,
        logger,
    });
    // Everything in memory: a test's device lives no longer than the test.
    await client.initRustCrypto({ useIndexedDB: false });
    await client.getCrypto().bootstrapCrossSigning({
        authUploadDeviceSigningKeys: (upload) => upload(login),
    });
    const synced = new Promise((resolve) => {
        client.on(ClientEvent.Sync, (state) => state === SyncState.Prepared && resolve());
    });
    await client.startClient({ initialSyncLimit: 10, ...options });
    await synced;
    return { client, userId: session.user_id, complaints };
}

async function register({ baseUrl, registration }, username, password) {
    const [way, ...rest] = registration.split(":");
    const secret = rest.join(":");
    if (way === "shared-secret") {
        const url = `${baseUrl}/_synapse/admin/v1/register`;
        const { nonce } = await expectOk(await fetch(url));
        const mac = createHmac("sha1", secret)
            .update([nonce, username, password, "notadmin"].join("\0"))
            .digest("hex");
        await expectOk(await post(url, { nonce, username, password, mac }));
        return;
    }
    const url = `${baseUrl}/_matrix/client/v3/register`;
    const request = { username, password, inhibit_login: true };
    const stages = way === "token" ? ["m.login.registration_token", "m.login.dummy"] : ["m.login.dummy"];
    let response = await post(url, request);
    for (let tries = 0; response.status === 401 && tries < stages.length; tries++) {
        const { session, flows, completed = [] } = await response.json();
        const flow = flows.find((flow) => flow.stages.every((stage) => stages.includes(stage)));
        const type = flow?.stages.find((stage) => !completed.includes(stage));
        if (!type) throw new Error("no registration flow can be followed");
        response = await post(url, { ...request, auth: { type, session, token: secret } });
    }
    await expectOk(response);
}

function post(url, body) {
    return fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
    });
}

async function expectOk(response) {
    if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
    return response.json();
}

/** A logger that keeps errors for the test to judge, and drops the rest. */
function complainingLogger(complaints) {
    const logger = {
        trace() {},
        debug() {},
        info() {},
        warn() {},
        error: (...message) => complaints.push(message.map(String).join(" ")),
        getChild: () => logger,
    };
    return logger;
}
