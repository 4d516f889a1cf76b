// Waiting for what a server has to bring about.

const PATIENCE_MS = 30_000;
const PAUSE_MS = 50;

/** Waits until `look` returns something true, and returns it. */
export async function eventually(what, look) {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
        const found = await look();
        if (found) return found;
        if (Date.now() > end) throw new Error(`did not happen: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
}
