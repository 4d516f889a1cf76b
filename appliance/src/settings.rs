//! What the site file says, in the terms of each service.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use luxchat_accounts as accounts;
use luxchat_application_services::{ApplicationServices, Registration};
use luxchat_client_api as client_api;
use luxchat_federation as federation;
use luxchat_http::Tls;
use ruma::{OwnedServerName, ServerName, UserId};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::{
    commands,
    config::{self, Client, ClientCertificates, Config, Federation, Limits},
};

/// A registration secret longer than this is not one.
const MAX_SECRET: usize = 4_096;

/// Where ICAP servers listen by default.
const ICAP_PORT: u16 = 1344;

/// Bursts may be this many times the average rate.
const BURST: u32 = 20;

/// # Errors
///
/// When the registration secret cannot be read.
fn email(config: &Config, email: &config::Email) -> Result<accounts::EmailConfig> {
    let credentials = match (&email.user, &email.password_file) {
        (Some(user), Some(path)) => Some((user.clone(), secret(path)?)),
        _ => None,
    };
    let link = config.client.public_url.join(client_api::EMAIL_LINK)?;
    Ok(accounts::EmailConfig {
        relay: email.relay.to_string(),
        credentials,
        from: email.from.clone(),
        link: link.to_string(),
    })
}

/// A secret that lies in a file of its own.
fn secret(path: &Path) -> Result<String> {
    let bytes = luxchat_bundle::files::read(path, MAX_SECRET)?;
    let secret =
        String::from_utf8(bytes).with_context(|| format!("{}: not UTF-8", path.display()))?;
    let secret = secret.trim().to_owned();
    if secret.is_empty() {
        bail!("{}: the secret is empty", path.display());
    }
    Ok(secret)
}

pub(crate) fn accounts(config: &Config) -> Result<accounts::Config> {
    let registration = &config.registration;
    let search_all_users = config.user_directory.search_all_users;
    let email = config
        .email
        .as_ref()
        .map(|email| self::email(config, email))
        .transpose()?;
    let password_min_length = registration.password_min_length;
    let shared_secret = registration.shared_secret_file.as_deref();
    let shared_secret = shared_secret.map(secret).transpose()?;
    let registration = accounts::Registration {
        open: registration.open,
        token: registration.tokens,
        guests: registration.guests,
        shared_secret,
    };
    Ok(accounts::Config {
        registration,
        password_min_length,
        search_all_users,
        email,
        ..Default::default()
    })
}

/// What the registration files say, each and all together.
///
/// # Errors
///
/// Names the file, or the two services that cannot stand side by side.
pub(crate) fn application_services(config: &Config) -> Result<Vec<Registration>> {
    let server_name = server_name(config)?;
    let files = config.application_services.registrations.iter();
    let registrations = files
        .map(|path| Registration::load(path, &server_name))
        .collect::<Result<Vec<_>, _>>()?;
    ApplicationServices::check(&registrations)?;
    Ok(registrations)
}

/// Previews of web pages, where the site wants them.
pub(crate) fn previews(previews: &config::Previews) -> Option<luxchat_previews::Config> {
    previews.enabled.then(|| luxchat_previews::Config {
        allowed_networks: previews.allowed_networks.clone(),
        ports: previews.ports.clone(),
        ..Default::default()
    })
}

/// Which push gateways the box may speak to.
///
/// # Errors
///
/// Where the authorities that vouch for them cannot be read.
pub(crate) fn push(push: &config::Push) -> Result<luxchat_push::Config> {
    let gateways = push.gateways().map_err(anyhow::Error::msg)?;
    let needs_authorities = gateways.iter().any(luxchat_push::Gateway::is_https);
    Ok(luxchat_push::Config {
        authorities: if needs_authorities {
            certificates(&push.authorities)?
        } else {
            Vec::new()
        },
        gateways,
        private_addresses: push.private_addresses.clone(),
        full_events: push.full_events,
        ..Default::default()
    })
}

/// # Errors
///
/// When the user that the box speaks as cannot be one.
pub(crate) fn client_api(config: &Config) -> Result<client_api::Config> {
    let limits = &config.limits;
    let notices = &config.server_notices;
    let speaker = UserId::parse_with_server_name(&*notices.localpart, &server_name(config)?)
        .context("server_notices.localpart")?;
    Ok(client_api::Config {
        server_notices: Some(client_api::ServerNotices {
            user_id: speaker,
            room_name: notices.room_name.clone(),
        }),
        synapse_admin_api: config.admin.synapse_api,
        base_url: Some(config.client.public_url.to_string()),
        trusted_proxies: config.client.trusted_proxies.clone(),
        anonymous_profile_lookups: config.client.anonymous_profile_lookups,
        max_concurrent_requests: limits.concurrent_requests,
        rate_limits: rate_limits(limits),
        turn: config.turn.as_ref().map(turn).transpose()?,
        support: config.support.as_ref().map(support),
        ..Default::default()
    })
}

/// The same grammar in another library's type.
fn server_name(config: &Config) -> Result<OwnedServerName> {
    Ok(ServerName::parse(config.server_name.as_str())?)
}

fn support(support: &config::Support) -> client_api::Support {
    client_api::Support {
        email: support.email.clone(),
        // The site file was checked for it.
        matrix_id: support
            .matrix_id
            .as_deref()
            .and_then(|id| ruma::UserId::parse(id).ok()),
        security_email: support.security_email.clone(),
        page: support.page.as_ref().map(ToString::to_string),
    }
}

/// # Errors
///
/// When the secret cannot be read.
fn turn(turn: &config::Turn) -> Result<client_api::Turn> {
    Ok(client_api::Turn {
        uris: turn.uris.clone(),
        shared_secret: secret(&turn.shared_secret_file)?,
        lifetime: Duration::from_secs(turn.lifetime_seconds),
    })
}

/// A limit of 0 is none, and says nothing about the other: passwords must not become easier to guess because users may ask
/// as fast as they can. Where neither counts, nothing does.
fn rate_limits(limits: &Limits) -> Option<client_api::RateLimits> {
    let user = NonZeroU32::new(limits.requests_per_user);
    let login = NonZeroU32::new(limits.logins_per_address);
    if user.is_none() && login.is_none() {
        return None;
    }
    let none = client_api::Rate::new(UNLIMITED, UNLIMITED);
    Some(client_api::RateLimits {
        user: user.map_or(none, |user| client_api::Rate {
            burst: user.saturating_mul(BURST_FACTOR),
            every: Duration::from_secs(1) / user.get(),
        }),
        login: login.map_or(none, |login| client_api::Rate {
            burst: login,
            every: Duration::from_mins(1) / login.get(),
        }),
        address: client_api::RateLimits::default().address,
    })
}

/// More requests a second than any box could answer.
const UNLIMITED: u32 = 1_000_000;

const BURST_FACTOR: NonZeroU32 = NonZeroU32::new(BURST).expect("20 is not zero");

pub(crate) fn rooms(rooms: &config::Rooms) -> luxchat_rooms::Config {
    luxchat_rooms::Config {
        default_version: rooms.default_version.clone(),
    }
}

pub(crate) fn media(config: &Config, folder: PathBuf) -> luxchat_media::Config {
    let media = &config.media;
    luxchat_media::Config {
        max_bytes: config.limits.upload_bytes.into(),
        cache_bytes: media.cache_bytes,
        cache_time: days(media.cache_days),
        user_quota_bytes: Some(media.user_quota_bytes).filter(|quota| *quota > 0),
        quota_bytes: Some(media.quota_bytes).filter(|quota| *quota > 0),
        retention: days(media.retention_days),
        free_bytes: media.free_bytes,
        unauthenticated_until: media
            .unauthenticated_until
            .map(|until| u64::try_from(until.as_millisecond()).unwrap_or_default()),
        // The boxes of the nation all know the endpoint of today.
        fetch_unauthenticated: config.federation.client_certificates
            == ClientCertificates::Optional,
        scanner: media.scanner.as_ref().and_then(scanner),
        thumbnailer: config.thumbnailer.clone().map(thumbnailer),
        premade_thumbnails: media.premade_thumbnails,
        ..luxchat_media::Config::new(folder)
    }
}

fn thumbnailer(program: PathBuf) -> luxchat_media::thumbnailer::Config {
    luxchat_media::thumbnailer::Config {
        arguments: vec![commands::thumbnailer::NAME.to_owned()],
        ..luxchat_media::thumbnailer::Config::new(program)
    }
}

/// A number of days, of which 0 means no limit.
fn days(days: u32) -> Option<Duration> {
    (days > 0).then(|| Duration::from_hours(24 * u64::from(days)))
}

fn scanner(scanner: &config::Scanner) -> Option<luxchat_media::ScannerConfig> {
    use luxchat_media::{ScanService, ScannerAddress, WhenDown};
    let socket = scanner.clamd_socket.clone().map(ScannerAddress::Unix);
    let address = scanner.clamd_address.clone().map(ScannerAddress::Tcp);
    let icap = scanner.icap.as_ref().map(|url| ScanService::Icap {
        address: format!(
            "{}:{}",
            url.host_str().unwrap_or_default(),
            url.port().unwrap_or(ICAP_PORT)
        ),
        service: url.path().trim_start_matches('/').to_owned(),
    });
    Some(luxchat_media::ScannerConfig {
        service: socket.or(address).map(ScanService::Clamd).or(icap)?,
        when_down: match scanner.when_down {
            config::WhenDown::Refuse => WhenDown::Refuse,
            config::WhenDown::Deliver => WhenDown::Deliver,
        },
        time: Duration::from_secs(scanner.seconds.into()),
    })
}

/// # Errors
///
/// When the authorities cannot be read.
pub(crate) fn federation(federation: &Federation) -> Result<federation::Config> {
    let extra_authorities = federation.authorities.as_deref().map(certificates);
    Ok(federation::Config {
        client_certificates: match federation.client_certificates {
            ClientCertificates::Required => federation::ClientCertificates::Required,
            ClientCertificates::Optional => federation::ClientCertificates::Optional,
        },
        discovery: federation.discovery,
        share_device_names: federation.share_device_names,
        extra_authorities: extra_authorities.transpose()?.unwrap_or_default(),
        plain_peers: federation
            .peers
            .iter()
            .map(plain_peer)
            .collect::<Result<_>>()?,
        ..Default::default()
    })
}

/// # Errors
///
/// When the authorities cannot be read.
fn plain_peer(peer: &config::PlainPeer) -> Result<(OwnedServerName, federation::PlainPeer)> {
    let authorities = peer.authorities.as_deref().map(certificates);
    let known = federation::PlainPeer {
        endpoints: peer.endpoints.clone(),
        authorities: authorities.transpose()?.unwrap_or_default(),
    };
    Ok((peer.server_name.clone(), known))
}

/// The certificate of a box that is not enrolled, where the site file names one.
///
/// # Errors
///
/// When a file cannot be read.
pub(crate) fn federation_tls(
    federation: &Federation,
) -> Result<Option<luxchat_federation::TlsIdentity>> {
    let identity = federation.tls.as_ref().map(|tls| {
        let (chain, key) = certificate(tls)?;
        Ok(luxchat_federation::TlsIdentity { chain, key })
    });
    identity.transpose()
}

/// The certificate clients see, where the site file names one.
///
/// # Errors
///
/// When a file cannot be read, or key and certificate do not fit.
pub(crate) fn client_tls(client: &Client) -> Result<Option<Tls>> {
    let Some(tls) = &client.tls else {
        return Ok(None);
    };
    let (chain, key) = certificate(tls)?;
    let tls = Tls::new(chain, key).with_context(|| tls.certificate.display().to_string())?;
    Ok(Some(tls))
}

fn certificate(
    tls: &config::Tls,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let key = PrivateKeyDer::from_pem_file(&tls.key);
    let key = key.with_context(|| tls.key.display().to_string())?;
    Ok((certificates(&tls.certificate)?, key))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .with_context(|| path.display().to_string())
}

/// How long a stop lets requests go on, within the lifecycle's own grace.
pub(crate) const REQUEST_GRACE: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_limit_does_not_take_the_other_away() {
        let limits = |requests_per_user, logins_per_address| {
            rate_limits(&Limits {
                requests_per_user,
                logins_per_address,
                ..Limits::default()
            })
        };
        let logins = limits(0, 60).unwrap();
        assert_eq!(logins.login, client_api::Rate::new(60, 1));
        assert_eq!(limits(0, 6).unwrap().login.every, Duration::from_secs(10));
        assert_eq!(logins.user, client_api::Rate::new(UNLIMITED, UNLIMITED));
        let users = limits(5, 0).unwrap();
        assert_eq!(users.user, client_api::Rate::new(100, 5));
        assert!(limits(0, 0).is_none());
    }
}
