use std::net::SocketAddr;

use anyhow::{Context, Result};
use clap::Args;
use luxchat_admin_api::{ListState, Status};

use crate::say;

/// Show the state of a running box.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The box's admin listener.
    #[arg(long, default_value = "127.0.0.1:9091", value_name = "ADDRESS")]
    admin: SocketAddr,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// # Errors
///
/// When no box answers at the address.
pub fn run(arguments: Arguments) -> Result<()> {
    let status = super::block_on(fetch(arguments.admin))?;
    if arguments.json {
        say!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        say!("{}", page(&status));
    }
    Ok(())
}

async fn fetch(admin: SocketAddr) -> Result<Status> {
    let answer = reqwest::get(format!("http://{admin}/status"))
        .await
        .with_context(|| {
            format!("no box answers at {admin}: is it running, and is admin.listen this address?")
        })?;
    Ok(answer.error_for_status()?.json().await?)
}

fn page(status: &Status) -> String {
    let membership = &status.membership;
    let list = match membership.state {
        ListState::Valid => "in force",
        ListState::Expired => "EXPIRED: nobody federates until a new one arrives",
        ListState::Missing => "none yet: nobody federates",
    };
    let mut lines = vec![
        format!("server        {}", status.server_name),
        format!(
            "version       {}, up {} s, position {}",
            status.version, status.uptime_seconds, status.position
        ),
        match &status.certificate {
            Some(certificate) => format!(
                "certificate   until {}, {}",
                certificate.not_after, certificate.fingerprint
            ),
            None => "certificate   none: the box is not enrolled".to_owned(),
        },
        format!(
            "peers         must show a certificate: {}",
            match (
                status.client_certificates.as_str(),
                status.peers.plain.as_slice()
            ) {
                ("optional", []) => "optional: ANY SERVER MAY FEDERATE".to_owned(),
                ("optional", plain) => format!("all but {}", plain.join(", ")),
                (other, _) => other.to_owned(),
            }
        ),
        format!(
            "members list  {list}; version {}, {} active, {} not{}",
            membership.version,
            membership.active,
            membership.inactive,
            membership
                .expires
                .as_ref()
                .map(|at| format!(", until {at}"))
                .unwrap_or_default(),
        ),
    ];
    lines.extend(
        membership
            .last_checked
            .as_ref()
            .map(|at| format!("              last checked {at}")),
    );
    lines.extend(
        membership
            .last_error
            .as_ref()
            .map(|why| format!("              NOT RENEWED: {why}")),
    );
    let media = &status.media;
    lines.push(format!(
        "media         {} bytes of uploads, {} bytes of cache, {} files in quarantine; scanner: {}",
        media.upload_bytes, media.cache_bytes, media.quarantined, media.scanner
    ));
    lines.push(format!("thumbnails    {}", media.thumbnails));
    lines.push(format!(
        "connections   {} peers; {} cannot be reached",
        status.peers.connected, status.peers.failing
    ));
    lines.extend(status.peers.offenders.iter().map(|offender| {
        let met = match offender.refused_seconds {
            Some(seconds) => format!("REFUSED for {seconds} more seconds"),
            None => "slowed".to_owned(),
        };
        format!(
            "              {} is {met}: {} ({} times)",
            offender.server_name, offender.reason, offender.offences
        )
    }));
    let incomplete = &status.incomplete_rooms;
    if incomplete.rooms > 0 {
        lines.push(format!(
            "rooms         {} lack members, which are being fetched; of {} in vain so far",
            incomplete.rooms, incomplete.failing
        ));
    }
    lines.join("\n")
}
