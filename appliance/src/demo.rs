//! The demonstration: a nation comes to life, and a message crosses it, told as it happens. What it does to the boxes it
//! does as any client would, through their public API.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use anyhow::{Context, Result};
use luxchat_admin_api::UserSummary;
use luxchat_store::Clock;
use reqwest::Method;
use serde_json::json;

use crate::{
    compose::Appliance,
    nation::{Client, Nation, Plan, Site, messages},
    say,
};

/// Quiet, so that the story is told on standard output alone.
pub const LOG_FILTER: &str = "warn";

/// Agents of the demonstration: short name of their box, local part, password.
const AGENTS: &[(&str, &str, &str)] = &[
    ("interieur", "alice", "wonderland-2026"),
    ("interieur", "anna", "wonderland-2026"),
    ("sante", "bob", "wonderland-2026"),
];

/// A nation whose boxes are up.
#[derive(Debug)]
pub struct Running {
    boxes: Vec<(Site, Appliance)>,
}

/// A nation that anybody may register in, for trying clients and test programs.
pub fn open_plan() -> Plan {
    let site_lines =
        "\n[registration]\nopen = true\n\n[limits]\nrequests_per_user = 0\nlogins_per_address = 0\n"
            .to_owned();
    Plan {
        site_lines,
        ..Plan::default()
    }
}

/// Starts the boxes, the directory first, and tells who is who.
///
/// # Errors
///
/// When a box cannot start.
pub async fn start(nation: &Nation, clock: Arc<dyn Clock>) -> Result<Running> {
    say!(
        "A nation: one authority, one directory, {} ministries.",
        nation.sites().len() - 1
    );
    let mut boxes = Vec::new();
    for site in nation.sites() {
        let started = Instant::now();
        let appliance = site.start(Arc::clone(&clock)).await?;
        say!(
            "  {:24} clients {:28} peers {}  (up in {} ms)",
            site.config.server_name.to_string(),
            site.base_url(),
            site.config.federation.listen,
            started.elapsed().as_millis(),
        );
        boxes.push((site.clone(), appliance));
    }
    Ok(Running { boxes })
}

/// Makes the agents, and sends a message from one ministry to the other and back.
///
/// # Errors
///
/// The step that failed.
pub async fn drive(running: &Running) -> Result<()> {
    for (name, localpart, password) in AGENTS {
        running.make_agent(name, localpart, password).await?;
    }
    let run = format!("{:08x}", rand::random::<u32>());
    let mut steps = Steps::new(running);

    let alice = running.login("interieur", "alice").await?;
    steps.done("alice logs in at the ministry of the interior");
    let bob = running.login("sante", "bob").await?;
    steps.done("bob logs in at the ministry of health");

    let parameters = json!({ "preset": "private_chat", "name": format!("Crossing {run}") });
    let room = alice.create_room(&parameters).await?;
    steps.done("alice creates a private room");
    let before = bob.sync(None, std::time::Duration::ZERO).await?;
    let since = before["next_batch"].as_str().map(ToOwned::to_owned);
    alice.invite(&room, &bob.user_id).await?;
    steps.done("alice invites bob: her box asks his over mutual TLS");
    let is_invited = |sync: &serde_json::Value| sync["rooms"]["invite"].get(&room).map(drop);
    let ((), since) = bob.sync_until(since, "the invitation", is_invited).await?;
    steps.done("the invitation reaches bob");
    bob.join(&room, &["interieur.demo.lu"]).await?;
    steps.done("bob joins: his box fetches and checks the room's state");

    let words = format!("Moien Bob! ({run})");
    alice
        .send_text(&room, &format!("there-{run}"), &words)
        .await?;
    steps.done("alice's message is on her box's disk");
    let arrived = |sync: &serde_json::Value| {
        messages(sync, &room)
            .any(|event| event["content"]["body"] == words.as_str())
            .then_some(())
    };
    let ((), _) = bob
        .sync_until(Some(since), "alice's message", arrived)
        .await?;
    steps.done("alice's message reaches bob");

    let since = alice.sync(None, std::time::Duration::ZERO).await?["next_batch"]
        .as_str()
        .map(ToOwned::to_owned);
    let answer = format!("Moien Alice! ({run})");
    bob.send_text(&room, &format!("back-{run}"), &answer)
        .await?;
    let arrived = |sync: &serde_json::Value| {
        messages(sync, &room)
            .any(|event| event["content"]["body"] == answer.as_str())
            .then_some(())
    };
    alice.sync_until(since, "bob's answer", arrived).await?;
    steps.done("bob's answer is sent and reaches alice");
    Ok(())
}

/// Says how a person can join in with a client of their own.
pub fn invite_people_in(running: &Running) {
    say!("Try it with any Matrix client:");
    for (name, localpart, password) in AGENTS {
        if let Ok(site) = running.site(name) {
            let user = format!("@{localpart}:{}", site.config.server_name);
            say!(
                "  homeserver {:28} user {user:28} password {password}",
                site.base_url()
            );
        }
    }
    say!("Ctrl-C stops the nation; the same command starts it again where it left off.");
}

impl Running {
    /// Stops all boxes.
    pub async fn stop(self) {
        for (_, appliance) in self.boxes.into_iter().rev() {
            appliance.stop().await;
        }
    }

    fn site(&self, name: &str) -> Result<&Site> {
        let found = self.boxes.iter().find(|(site, _)| site.name == name);
        found
            .map(|(site, _)| site)
            .with_context(|| format!("no box {name} is running"))
    }

    async fn make_agent(&self, name: &str, localpart: &str, password: &str) -> Result<()> {
        let site = self.site(name)?;
        let operator = site.operator()?;
        let users: Vec<UserSummary> = operator.call(Method::GET, "/users", None::<&()>).await?;
        if users
            .iter()
            .any(|user| user.user_id.starts_with(&format!("@{localpart}:")))
        {
            return Ok(());
        }
        site.make_agent(localpart, password).await
    }

    async fn login(&self, name: &str, localpart: &str) -> Result<Client> {
        let agent = AGENTS.iter().find(|(_, other, _)| *other == localpart);
        let (_, _, password) = agent.with_context(|| format!("no agent {localpart}"))?;
        Client::login(&self.site(name)?.base_url(), localpart, password).await
    }
}

/// Tells each step with the time it took, and which certificates the boxes checked meanwhile.
struct Steps<'a> {
    running: &'a Running,
    since: Instant,
    /// Boxes, and the fingerprints of the peers' certificates that were told of.
    told: BTreeSet<(String, String)>,
}

impl<'a> Steps<'a> {
    fn new(running: &'a Running) -> Self {
        let mut steps = Self {
            running,
            since: Instant::now(),
            told: BTreeSet::new(),
        };
        steps.tell_connections();
        steps
    }

    fn done(&mut self, what: &str) {
        let took = self.since.elapsed().as_secs_f64() * 1000.0;
        self.tell_connections();
        say!("{took:8.1} ms  {what}");
        self.since = Instant::now();
    }

    fn tell_connections(&mut self) {
        for (site, appliance) in &self.running.boxes {
            for peer in appliance.connected_peers() {
                let own = site.config.server_name.to_string();
                if self
                    .told
                    .insert((own.clone(), peer.fingerprint.to_string()))
                {
                    let short: String = peer.fingerprint.to_string().chars().take(16).collect();
                    say!(
                        "       TLS  {own} has checked the certificate of {}: {short}…, until {:.0}",
                        peer.server_name,
                        peer.not_after
                    );
                }
            }
        }
    }
}
