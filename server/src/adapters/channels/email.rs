//! Mails over SMTP (RFC 5321). Replies with 4yz are temporary; 421, 450, 451 and 452 are also the answer of servers
//! that limit the rate. Replies with 5yz are permanent.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::{Outgoing, SendError, Transport};

/// Reply codes of a server that is busy or limits the rate.
const BUSY: [u16; 4] = [421, 450, 451, 452];
/// Maximum size of a text, in bytes.
const MAX_BYTES: usize = 100_000;

/// Encryption of the connection to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailEncryption {
    /// Plain text first, then TLS. Refuses a server without TLS.
    StartTls,
    /// TLS from the start.
    Tls,
    None,
}

/// Settings of a mail server and its mails.
pub struct Mail {
    pub host: String,
    pub port: u16,
    pub encryption: MailEncryption,
    /// User and password. `None`: no login.
    pub login: Option<(String, String)>,
    pub from: String,
    pub to: Vec<String>,
}

/// Sends mails.
pub struct Email {
    server: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Email {
    /// Returns a sender of mails. Each mail uses a connection of its own.
    ///
    /// # Errors
    /// If an address is invalid.
    pub fn new(mail: Mail, timeout: Duration) -> Result<Self, String> {
        // Fails if another adapter has installed the provider before, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mailbox = |address: &String| {
            address.parse::<Mailbox>().map_err(|error| format!("invalid mail address {address:?}: {error}"))
        };
        let to = mail.to.iter().map(mailbox).collect::<Result<_, _>>()?;
        let from = mailbox(&mail.from)?;
        let server = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.host);
        let server = server.port(mail.port).timeout(Some(timeout)).tls(tls(&mail)?);
        let server = match mail.login {
            Some((user, password)) => server.credentials(Credentials::new(user, password)),
            None => server,
        };
        Ok(Self { server: server.build(), from, to })
    }
}

fn tls(mail: &Mail) -> Result<Tls, String> {
    let parameters = || TlsParameters::new(mail.host.clone()).map_err(|error| error.to_string());
    Ok(match mail.encryption {
        MailEncryption::StartTls => Tls::Required(parameters()?),
        MailEncryption::Tls => Tls::Wrapper(parameters()?),
        MailEncryption::None => Tls::None,
    })
}

#[async_trait]
impl Transport for Email {
    async fn send(&self, outgoing: &Outgoing<'_>) -> Result<(), SendError> {
        let at = u64::try_from(outgoing.now.ms()).unwrap_or(0);
        let mail = Message::builder()
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(at))
            .message_id(Some(format!("<{}@taskcenter>", outgoing.id)))
            .from(self.from.clone())
            .subject(outgoing.message.title.clone())
            .header(ContentType::TEXT_PLAIN);
        let mail = self.to.iter().fold(mail, |mail, to| mail.to(to.clone()));
        let mail = mail.body(outgoing.message.text(MAX_BYTES));
        let mail = mail.map_err(|error| SendError::Refused(error.to_string()))?;
        self.server.send(mail).await.map(drop).map_err(|error| judge(&error))
    }
}

fn judge(error: &Error) -> SendError {
    let code = error.status().map(u16::from);
    match code {
        Some(code) if BUSY.contains(&code) => SendError::Limited(None),
        Some(code) if error.is_permanent() => SendError::Refused(format!("the mail server answered {code}")),
        Some(code) => SendError::Temporary(format!("the mail server answered {code}")),
        None if error.is_client() => SendError::Refused(error.to_string()),
        None => SendError::Temporary(error.to_string()),
    }
}
