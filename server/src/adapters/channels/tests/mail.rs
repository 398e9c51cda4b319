//! Mails, against a local double that speaks SMTP.

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;

/// Starts a mail server that answers `MAIL FROM` with the codes in turn, and then always with the last one.
/// The channel returns each accepted conversation: commands and mail, line by line.
async fn server(codes: &'static [u16], extension: &'static str) -> (u16, UnboundedReceiver<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, mails) = unbounded_channel();
    tokio::spawn(async move {
        for nth in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            let code = codes[nth.min(codes.len() - 1)];
            let _closed = converse(stream, code, extension, &sender).await;
        }
    });
    (port, mails)
}

async fn converse(
    stream: TcpStream,
    code: u16,
    extension: &str,
    mails: &UnboundedSender<Vec<String>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 double ESMTP\r\n").await?;
    let (mut lines, mut is_data) = (Vec::new(), false);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end().to_owned();
        lines.push(line.clone());
        let answer = match line.split([' ', ':']).next().unwrap_or_default() {
            "." if is_data => {
                is_data = false;
                mails.send(std::mem::take(&mut lines)).unwrap();
                "250 queued\r\n".to_owned()
            }
            _ if is_data => continue,
            "EHLO" => format!("250-double\r\n250 {extension}\r\n"),
            "MAIL" => format!("{code} answer with {CANARY}\r\n"),
            "DATA" => {
                is_data = true;
                "354 go on\r\n".to_owned()
            }
            "QUIT" => "221 bye\r\n".to_owned(),
            _ => "250 ok\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

fn mail(port: u16, encryption: MailEncryption, login: Option<(String, String)>) -> Receiver {
    let to = vec!["ops@example.com".to_owned(), "Chief <chief@example.com>".to_owned()];
    let (host, from) = ("127.0.0.1".to_owned(), "Alerts <alerts@example.com>".to_owned());
    Receiver::Email(Box::new(Mail { host, port, encryption, login, from, to }))
}

async fn next(mails: &mut UnboundedReceiver<Vec<String>>) -> Vec<String> {
    let next = tokio::time::timeout(Duration::from_mins(1), mails.recv()).await;
    next.expect("a mail arrives in time").expect("the double runs")
}

#[tokio::test]
async fn a_mail_has_its_addresses_its_subject_and_its_text() {
    let (port, mut mails) = server(&[250], "8BITMIME").await;
    let channel = start("email", mail(port, MailEncryption::None, None));
    channel.send(&raised("order.close"));
    let lines = next(&mut mails).await;
    for expected in [
        "MAIL FROM:<alerts@example.com>",
        "RCPT TO:<ops@example.com>",
        "RCPT TO:<chief@example.com>",
        "From: Alerts <alerts@example.com>",
        "To: ops@example.com, Chief <chief@example.com>",
        "Date: Tue, 14 Nov 2023 22:13:20 +0000",
        "Content-Type: text/plain; charset=utf-8",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected} is missing: {lines:#?}");
    }
    let text = lines.join("\n");
    assert!(text.contains("Message-ID: <msg_") && text.contains("Subject: "), "{text}");
}

#[tokio::test]
async fn a_user_signs_in_and_the_error_hides_the_password() {
    let (port, _mails) = server(&[550], "AUTH PLAIN").await;
    let login = Some(("alerts".to_owned(), CANARY.to_owned()));
    let error = start("email", mail(port, MailEncryption::None, login)).test().await.unwrap_err();
    assert!(!error.contains(CANARY), "{error}");
}

#[tokio::test]
async fn a_busy_server_gets_the_mail_later_with_what_was_raised_meanwhile() {
    for busy in [&[451, 250], &[421, 250]] {
        let (port, mut mails) = server(busy, "8BITMIME").await;
        let channel = start("email", mail(port, MailEncryption::None, None));
        channel.send(&raised("order.close"));
        next(&mut mails).await;
    }
    let (port, _mails) = server(&[550], "8BITMIME").await;
    let refused = start("email", mail(port, MailEncryption::None, None)).test().await.unwrap_err();
    assert_eq!(refused, "the mail server answered 550");
}

#[tokio::test]
async fn a_server_without_tls_gets_no_mail_when_tls_is_required() {
    let (port, mut mails) = server(&[250], "8BITMIME").await;
    let channel = start("email", mail(port, MailEncryption::StartTls, None));
    assert!(channel.test().await.is_err());
    assert!(mails.try_recv().is_err());
}
