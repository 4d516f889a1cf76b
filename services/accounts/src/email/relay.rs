//! The relay that takes the server's e-mails: the only place they go to.

use std::{sync::Arc, time::Duration};

use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::authentication::Credentials,
};
use tokio::sync::Semaphore;
use tracing::warn;

use super::EmailPurpose;
use crate::{EmailConfig, Error, Result};

/// E-mails on their way to the relay at a time; whoever comes then is told to come back.
const SENDING: usize = 64;
const COME_BACK: Duration = Duration::from_secs(30);

/// How long the relay may take for each step.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Relay {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    link: String,
    sending: Arc<Semaphore>,
}

impl Relay {
    pub(crate) fn new(config: &EmailConfig) -> Result<Self> {
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(&config.relay)
            .map_err(|error| invalid("e-mail relay", error))?
            .timeout(Some(TIMEOUT));
        if let Some((user, password)) = &config.credentials {
            builder = builder.credentials(Credentials::new(user.clone(), password.clone()));
        }
        Ok(Self {
            transport: builder.build(),
            from: config
                .from
                .parse()
                .map_err(|error| invalid("sender of e-mails", error))?,
            link: config.link.clone(),
            sending: Arc::new(Semaphore::new(SENDING)),
        })
    }

    /// Sends a link in the background: how long that takes tells nobody anything.
    pub(crate) fn send_link(
        &self,
        to: Address,
        purpose: EmailPurpose,
        sid: &str,
        token: &str,
    ) -> Result<()> {
        let link = format!("{}?sid={sid}&token={token}", self.link);
        let (subject, text) = wording(purpose, &link);
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|error| invalid("e-mail", error))?;
        let place = Arc::clone(&self.sending)
            .try_acquire_owned()
            .map_err(|_| Error::TryLater(COME_BACK))?;
        let transport = self.transport.clone();
        tokio::spawn(async move {
            if let Err(error) = transport.send(message).await {
                // Not to whom: that is nobody's business.
                warn!(%error, "the relay did not take an e-mail");
            }
            drop(place);
        });
        Ok(())
    }
}

fn wording(purpose: EmailPurpose, link: &str) -> (&'static str, String) {
    let (subject, what) = match purpose {
        EmailPurpose::Add => (
            "Confirm your e-mail address",
            "Somebody, probably you, wants to add this e-mail address to their account.",
        ),
        EmailPurpose::Register => (
            "Confirm your e-mail address",
            "Somebody, probably you, wants to make an account with this e-mail address.",
        ),
        EmailPurpose::ResetPassword => (
            "Set a new password",
            "Somebody, probably you, wants to set a new password for the account with this e-mail address.",
        ),
    };
    let text = format!(
        "{what}\n\nTo confirm, open this link within an hour, and then go on where you began:\n\n{link}\n\n\
         If it was not you, do nothing.\n"
    );
    (subject, text)
}

fn invalid(what: &'static str, error: impl std::fmt::Display) -> Error {
    Error::Invalid {
        what,
        why: error.to_string(),
    }
}

/// A relay that keeps what it is given.
#[cfg(test)]
pub(crate) mod testing {
    use tokio::{
        io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
        net::{TcpListener, TcpStream},
        sync::mpsc,
    };

    use crate::EmailConfig;

    pub(crate) struct Outbox {
        port: u16,
        emails: mpsc::Receiver<String>,
    }

    impl Outbox {
        pub(crate) async fn open() -> Self {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let (sender, emails) = mpsc::channel(16);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(take(stream, sender.clone()));
                }
            });
            Self { port, emails }
        }

        pub(crate) fn config(&self) -> EmailConfig {
            EmailConfig {
                relay: format!("smtp://127.0.0.1:{}", self.port),
                credentials: None,
                from: "Luxchat <luxchat@example.org>".to_owned(),
                link: "https://example.org/confirm".to_owned(),
            }
        }

        /// Session and token of the next link that was sent.
        pub(crate) async fn link(&mut self) -> (String, String) {
            let email = self.emails.recv().await.unwrap();
            // Long lines are broken for transport.
            let email = email.replace("=\r\n", "").replace("=3D", "=");
            let (_, link) = email.split_once("confirm?sid=").unwrap();
            let link = link.split_whitespace().next().unwrap();
            let (sid, token) = link.split_once("&token=").unwrap();
            (sid.to_owned(), token.to_owned())
        }
    }

    async fn take(stream: TcpStream, emails: mpsc::Sender<String>) {
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 test\r\n").await.unwrap();
        let mut line = String::new();
        while stream.read_line(&mut line).await.unwrap() > 0 {
            let answer: &[u8] = if line.starts_with("EHLO") {
                b"250 test\r\n"
            } else if line.starts_with("DATA") {
                stream.write_all(b"354 go on\r\n").await.unwrap();
                let mut email = String::new();
                while !email.ends_with("\r\n.\r\n") {
                    stream.read_line(&mut email).await.unwrap();
                }
                emails.send(email).await.unwrap();
                b"250 taken\r\n"
            } else {
                b"250 ok\r\n"
            };
            stream.write_all(answer).await.unwrap();
            line.clear();
        }
    }
}
