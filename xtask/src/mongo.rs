//! MongoDB: the command of a one-node replica set, and a probe that makes a majority write.
//!
//! The probe implements the wire protocol (one `OP_MSG` each way): the driver takes minutes to
//! build.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use bson::{Document, doc};

use crate::catalog::Service;
use crate::download;
use crate::net;

const REPLICA_SET: &str = "rs0";
const OP_MSG: i32 = 2013;
const HEADER: usize = 16;
/// Maximum length of an answer in bytes. Answers have some hundred bytes; another protocol may
/// claim any length.
const MAX_ANSWER: usize = 1 << 20;
const ALREADY_INITIALIZED: i32 = 23;

/// Returns the command of a mongod with a small cache and a fast stop.
pub fn command(service: &Service) -> Result<Command> {
    let dir = service.home().dir().to_path_buf();
    let data = dir.join("data");
    fs::create_dir_all(&data)?;
    let mut command = Command::new(download::mongod(service.root())?);
    command.args(["--bind_ip", "127.0.0.1", "--port", &service.port.to_string()]);
    command.args(["--replSet", REPLICA_SET, "--wiredTigerCacheSizeGB", "0.5", "--nounixsocket"]);
    // On SIGTERM a primary waits this long for a successor (default 15 s). A set of one has no
    // successor.
    command.args(["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"]);
    command.arg("--dbpath").arg(data);
    Ok(command)
}

/// Fails unless the replica set has a writable primary and acknowledges a majority write. Initiates
/// a new node.
pub fn probe(service: &Service) -> Result<()> {
    let mut stream = net::connect(service.port)?;
    let hello = run(&mut stream, &doc! { "hello": 1, "$db": "admin" })?;
    if !hello.contains_key("setName") {
        initiate(&mut stream, service.port)?;
    }
    ensure!(
        hello.get_bool("isWritablePrimary").unwrap_or(false),
        "the replica set has no writable primary yet"
    );
    let write = doc! {
        "update": "probe",
        "updates": [{ "q": { "_id": 1 }, "u": { "$inc": { "n": 1 } }, "upsert": true }],
        "writeConcern": { "w": "majority", "wtimeout": 4000 },
        "$db": "xtask",
    };
    let answer = run(&mut stream, &write)?;
    succeeded(&answer)?;
    ensure!(
        !answer.contains_key("writeConcernError"),
        "MongoDB did not acknowledge a majority write: {answer}"
    );
    Ok(())
}

fn initiate(stream: &mut TcpStream, port: u16) -> Result<()> {
    let member = doc! { "_id": 0, "host": format!("127.0.0.1:{port}") };
    let config = doc! { "_id": REPLICA_SET, "members": [member] };
    let answer = run(stream, &doc! { "replSetInitiate": config, "$db": "admin" })?;
    if answer.get_i32("code").is_ok_and(|code| code == ALREADY_INITIALIZED) {
        return Ok(());
    }
    succeeded(&answer)
}

fn succeeded(answer: &Document) -> Result<()> {
    let ok = answer.get_f64("ok").is_ok_and(|ok| ok > 0.0) && !answer.contains_key("writeErrors");
    ensure!(ok, "MongoDB answered {answer}");
    Ok(())
}

fn run(stream: &mut TcpStream, command: &Document) -> Result<Document> {
    stream.write_all(&encode(command)?)?;
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).context("MongoDB did not answer")?;
    let length = int(&header, 0) as usize;
    if !(HEADER..MAX_ANSWER).contains(&length) || int(&header, 12) != OP_MSG {
        bail!("the answer is not in the protocol of MongoDB");
    }
    let mut body = vec![0; length - HEADER];
    stream.read_exact(&mut body)?;
    decode(&body)
}

/// Encodes header (length, request id, response to, opcode), flags, section kind 0, and one
/// document.
fn encode(command: &Document) -> Result<Vec<u8>> {
    let document = command.to_vec()?;
    let length = HEADER + 5 + document.len();
    let mut message = Vec::with_capacity(length);
    for field in [length as i32, 1, 0, OP_MSG, 0] {
        message.extend(field.to_le_bytes());
    }
    message.push(0);
    message.extend(document);
    Ok(message)
}

fn decode(body: &[u8]) -> Result<Document> {
    let document = body.get(5..).context("the answer is too short")?;
    Ok(Document::from_reader(document)?)
}

fn int(bytes: &[u8], at: usize) -> i32 {
    i32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_contains_its_length_and_the_command() {
        let command = doc! { "hello": 1, "$db": "admin" };
        let message = encode(&command).unwrap();
        assert_eq!(int(&message, 0) as usize, message.len());
        assert_eq!(int(&message, 12), OP_MSG);
        assert_eq!(decode(&message[HEADER..]).unwrap(), command);
    }

    #[test]
    fn an_answer_with_write_errors_is_a_failure() {
        assert!(succeeded(&doc! { "ok": 1.0 }).is_ok());
        assert!(succeeded(&doc! { "ok": 0.0, "code": 13 }).is_err());
        assert!(succeeded(&doc! { "ok": 1.0, "writeErrors": [] }).is_err());
    }

    #[test]
    fn a_truncated_answer_is_an_error() {
        assert!(decode(&[0, 0]).is_err());
        assert!(decode(&[0; 9]).is_err());
    }
}
