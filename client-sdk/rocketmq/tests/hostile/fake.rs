//! Servers within the test: honest ones, and ones that violate the protocol.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{BufMut as _, Bytes, BytesMut};
use taskcenter_rocketmq::Command;
use taskcenter_rocketmq::protocol::{codes, frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Duration, interval};

/// Topic of all servers.
pub const TOPIC: &str = "t";
const MAX_FRAME: usize = 64 << 20;

/// What a hostile server does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Ends the connection at once.
    Close,
    /// Never answers.
    Silence,
    /// Never reads.
    Deafness,
    /// Announces a frame of 2 bytes.
    ShortLength,
    /// Announces a frame of 4 GiB.
    LongLength,
    /// Announces a header that is longer than its frame.
    LongHeader,
    /// Announces the largest allowed frame and sends one byte at a time.
    Drip,
    /// Sends half an answer.
    HalfFrame,
    /// Sends random bytes for ever.
    Noise,
    /// Sends answers that nobody waits for, for ever.
    WrongOpaques,
    /// Sends requests for ever and reads no answer.
    Requests,
    /// Answers with a success without fields and body.
    EmptyAnswers,
    /// Answers with nested JSON.
    DeepJson,
    /// Answers with as many JSON values as a frame has room for.
    ManyValues,
    /// Answers with absurd numbers in every field, and with noise in the body.
    WrongNumbers,
}

impl Attack {
    pub const ALL: [Self; 15] = [
        Self::Close,
        Self::Silence,
        Self::Deafness,
        Self::ShortLength,
        Self::LongLength,
        Self::LongHeader,
        Self::Drip,
        Self::HalfFrame,
        Self::Noise,
        Self::WrongOpaques,
        Self::Requests,
        Self::EmptyAnswers,
        Self::DeepJson,
        Self::ManyValues,
        Self::WrongNumbers,
    ];
}

/// A server on a free port. A drop ends it.
pub struct Fake {
    pub address: String,
    /// Number of connections and, of honest servers, of requests.
    pub load: Arc<AtomicUsize>,
    accepts: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}

impl Fake {
    /// Starts a server that attacks all clients. `max_frame` is their largest frame.
    pub async fn hostile(attack: Attack, max_frame: usize) -> Self {
        Self::start(move |stream, load| async move {
            load.fetch_add(1, Ordering::Relaxed);
            // The client may end the connection at any time.
            let _ = assault(stream, attack, max_frame, &load).await;
        })
        .await
    }

    /// Starts a server that answers each request with `answer`.
    pub async fn honest(answer: impl Fn(&Command) -> Command + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::start(move |stream, load| {
            let answer = Arc::clone(&answer);
            async move {
                let _ = serve(stream, &load, |request| Some(answer(request))).await;
            }
        })
        .await
    }

    async fn start<F>(serve: impl Fn(TcpStream, Arc<AtomicUsize>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let load = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&load);
        let accepts = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, Arc::clone(&counted)));
            }
        });
        Self { address, load, accepts }
    }
}

async fn serve(
    mut stream: TcpStream,
    load: &AtomicUsize,
    answer: impl Fn(&Command) -> Option<Command>,
) -> std::io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        while let Ok(Some(frame)) = frame::take(&mut buffer, MAX_FRAME) {
            let request = frame::decode(frame).expect("clients send valid frames");
            load.fetch_add(1, Ordering::Relaxed);
            let Some(mut answer) = answer(&request).filter(|_| !request.is_one_way()) else { continue };
            answer.opaque = request.opaque;
            stream.write_all(&encode(&answer)).await?;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

fn encode(command: &Command) -> BytesMut {
    let mut encoded = BytesMut::new();
    frame::encode_head(command, &mut encoded);
    encoded.extend_from_slice(&command.body);
    encoded
}

fn words(words: &[u32]) -> BytesMut {
    let mut bytes = BytesMut::new();
    words.iter().for_each(|word| bytes.put_u32(*word));
    bytes
}

async fn assault(
    mut stream: TcpStream,
    attack: Attack,
    max_frame: usize,
    load: &AtomicUsize,
) -> std::io::Result<()> {
    let success = || Command::response(codes::SUCCESS, 0);
    match attack {
        Attack::Close => Ok(()),
        Attack::Deafness => std::future::pending().await,
        Attack::Silence => serve(stream, load, |_| None).await,
        Attack::ShortLength => after_request(stream, &words(&[2, 0])).await,
        Attack::LongLength => after_request(stream, &words(&[u32::MAX, 0])).await,
        Attack::LongHeader => after_request(stream, &words(&[8, 0x00ff_ffff, 0])).await,
        Attack::HalfFrame => {
            let answer = encode(&success().with_body(vec![7; 1000]));
            after_request(stream, &answer[..answer.len() / 2]).await
        }
        Attack::Drip => {
            stream.write_all(&words(&[max_frame as u32])).await?;
            let mut drops = interval(Duration::from_millis(1));
            loop {
                drops.tick().await;
                stream.write_all(&[0]).await?;
            }
        }
        Attack::Noise => {
            let mut random = fastrand::Rng::with_seed(1);
            let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(1 << 16).collect();
            flood(stream, &noise).await
        }
        Attack::WrongOpaques => {
            let mut answer = success().with_body(vec![7; 1000]);
            answer.opaque = i32::MIN;
            flood(stream, &encode(&answer).repeat(64)).await
        }
        Attack::Requests => {
            let request = Command::request(codes::NOTIFY_CONSUMER_IDS_CHANGED).field("consumerGroup", "g");
            flood(stream, &encode(&request).repeat(64)).await
        }
        Attack::EmptyAnswers => serve(stream, load, |_| Some(success())).await,
        Attack::DeepJson => {
            let body = Bytes::from("[".repeat(max_frame - 1000));
            serve(stream, load, |_| Some(success().with_body(body.clone()))).await
        }
        Attack::ManyValues => {
            let body = Bytes::from(format!("[{}0]", "0,".repeat(max_frame / 2 - 1000)));
            serve(stream, load, |_| Some(success().with_body(body.clone()))).await
        }
        Attack::WrongNumbers => serve(stream, load, |_| Some(absurd())).await,
    }
}

/// Sends the bytes after the first bytes of a request, and then nothing.
async fn after_request(mut stream: TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let mut request = [0; 1024];
    stream.read(&mut request).await.map(drop)?;
    stream.write_all(bytes).await?;
    while stream.read(&mut request).await? > 0 {}
    Ok(())
}

async fn flood(mut stream: TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes).await?;
        // Tests with one thread also run the client.
        tokio::task::yield_now().await;
    }
}

/// A success with absurd numbers: as a route, as the answer to a send, and as pulled messages.
fn absurd() -> Command {
    const FIELDS: [&str; 7] = [
        "queueId",
        "queueOffset",
        "offset",
        "nextBeginOffset",
        "minOffset",
        "maxOffset",
        "suggestWhichBrokerId",
    ];
    let numbers = ["-1", "9223372036854775807", "-9223372036854775808", "1e9", ""];
    let mut random = fastrand::Rng::new();
    let mut answer = Command::response(codes::SUCCESS, 0);
    for name in FIELDS {
        answer = answer.field(name, random.choice(numbers).unwrap_or_default());
    }
    let queues = i32::MAX;
    answer.with_body(format!(
        r#"{{"queueDatas":[{{"brokerName":"x","perm":6,"readQueueNums":{queues},"writeQueueNums":{queues}}}],
            "brokerDatas":[{{"brokerName":"x","cluster":"c","brokerAddrs":{{"-1":"::","0":"127.0.0.1:99999"}}}}],
            "consumerIdList":["a","a",""]}}"#
    ))
}

/// Returns the answer of an honest name server: a topic with 4 queues on each of the brokers.
pub fn route(brokers: &[(&str, &str)]) -> Command {
    let queues = brokers.iter().map(|(name, _)| {
        serde_json::json!({"brokerName": name, "perm": 6, "readQueueNums": 4, "writeQueueNums": 4, "topicSysFlag": 0})
    });
    let addresses = brokers.iter().map(
        |(name, address)| serde_json::json!({"brokerName": name, "cluster": "c", "brokerAddrs": {"0": address}}),
    );
    let route = serde_json::json!({
        "queueDatas": queues.collect::<Vec<_>>(), "brokerDatas": addresses.collect::<Vec<_>>(), "filterServerTable": {},
    });
    Command::response(codes::SUCCESS, 0).with_body(route.to_string())
}

/// State of an honest broker.
#[derive(Default)]
pub struct Store {
    /// Id of the client that sent the last heartbeat.
    member: Mutex<String>,
    /// Number of messages in each queue of [`TOPIC`].
    messages: i64,
}

impl Store {
    /// A broker with this number of messages in each queue.
    pub fn of(messages: i64) -> Self {
        Self { messages, ..Self::default() }
    }

    /// Returns the answer to a request.
    pub fn answer(&self, request: &Command) -> Command {
        let success = Command::response(codes::SUCCESS, 0);
        let field = |name: &str| request.fields.get(name).unwrap_or("0").parse::<i64>().unwrap_or_default();
        match request.code {
            codes::HEART_BEAT => {
                let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
                *self.member.lock().unwrap() = body["clientID"].as_str().unwrap().to_owned();
                success
            }
            codes::GET_CONSUMER_LIST_BY_GROUP => {
                let member = self.member.lock().unwrap().clone();
                success.with_body(serde_json::json!({"consumerIdList": [member]}).to_string())
            }
            codes::SEND_MESSAGE_V2 => {
                success.field("msgId", "0").field("queueId", "1").field("queueOffset", "2")
            }
            codes::GET_MAX_OFFSET => success.field("offset", self.messages),
            codes::QUERY_CONSUMER_OFFSET | codes::GET_MIN_OFFSET => success.field("offset", 0),
            codes::PULL_MESSAGE if request.fields.get("topic") == Some(TOPIC) => {
                self.pull(field("queueId"), field("queueOffset"))
            }
            codes::PULL_MESSAGE => Command::response(codes::PULL_NOT_FOUND, 0),
            _ => success,
        }
    }

    fn pull(&self, queue: i64, from: i64) -> Command {
        let code = if from < self.messages { codes::SUCCESS } else { codes::PULL_NOT_FOUND };
        let message = |offset| stored(&format!("{queue}-{offset}"), TOPIC, offset, 0, b"body");
        let body: Vec<_> = (from..self.messages).map(message).collect();
        Command::response(code, 0)
            .field("nextBeginOffset", self.messages.max(from))
            .field("minOffset", 0)
            .field("maxOffset", self.messages)
            .field("suggestWhichBrokerId", 0)
            .with_body(body.concat())
    }
}

/// Returns a stored message (`MessageDecoder.java`).
pub fn stored(id: &str, topic: &str, queue_offset: i64, sys_flag: i32, body: &[u8]) -> Bytes {
    let mut message = BytesMut::new();
    message.put_slice(&words(&[0, 0xDAA3_20A7, 0, 0, 0]));
    message.put_i64(queue_offset);
    message.put_i64(queue_offset * 1000);
    message.put_i32(sys_flag);
    for _ in 0..2 {
        message.put_i64(1_700_000_000_000);
        message.put_slice(&[127, 0, 0, 1, 0, 0, 0, 9]);
    }
    message.put_slice(&words(&[0, 0, 0, body.len() as u32]));
    message.put_slice(body);
    message.put_u8(topic.len() as u8);
    message.put_slice(topic.as_bytes());
    let properties = format!("UNIQ_KEY\u{1}{id}\u{2}");
    message.put_u16(properties.len() as u16);
    message.put_slice(properties.as_bytes());
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_be_bytes());
    message.freeze()
}
