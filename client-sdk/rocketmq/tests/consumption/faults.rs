//! Faults: missing topics, wrong keys, name servers that are away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use taskcenter_rocketmq::consumer::Disposition;
use taskcenter_rocketmq::{ClientConfig, Credentials};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::harness::{Log, Setup, acl};
use crate::support::until;

async fn a_missing_topic_is_a_problem_until_it_exists(config: ClientConfig) {
    let setup = Setup::without_topic(config);
    let (member, log) = setup.start_recorder(setup.member(), "*");
    until("the missing topic is a problem", async || {
        member.health().problems.iter().any(|problem| problem.error.contains(&setup.topic))
    })
    .await;
    setup.create_topic(2).await;
    setup.send("a", "1").await;
    log.reaches(1).await;
    until("no problem is left", async || member.health().problems.is_empty()).await;
    member.leave().await;
}

#[tokio::test]
async fn a_wrong_key_is_a_problem() {
    let setup = Setup::new(acl(), 1).await;
    let wrong = acl().credentials(Credentials::new("tcadmin", "wrong"));
    let log = Log::default();
    let member =
        crate::harness::Member::start(wrong, setup.member(), &setup.topic, "*", move |message, _| {
            log.add(&message);
            async { Disposition::Ack }
        });
    until("the refusal is a problem", async || !member.health().problems.is_empty()).await;
    member.leave().await;
}

/// A name server that can be cut off.
struct Proxy {
    address: String,
    server: String,
    cut: Arc<AtomicBool>,
    connections: std::sync::Mutex<CancellationToken>,
}

impl Proxy {
    async fn start(server: String) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let proxy =
            Arc::new(Self { address, server, cut: Arc::default(), connections: std::sync::Mutex::default() });
        tokio::spawn(Arc::clone(&proxy).serve(listener));
        proxy
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((mut client, _)) = listener.accept().await {
            if self.cut.load(Ordering::SeqCst) {
                continue;
            }
            let (end, server) = (self.connections.lock().unwrap().clone(), self.server.clone());
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server).await.unwrap();
                let copy = tokio::io::copy_bidirectional(&mut client, &mut server);
                let _ = end.run_until_cancelled(copy).await;
            });
        }
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.connections.lock().unwrap().cancel();
    }

    fn restore(&self) {
        *self.connections.lock().unwrap() = CancellationToken::new();
        self.cut.store(false, Ordering::SeqCst);
    }
}

async fn without_a_name_server_messages_go_on_and_none_starts_twice(config: ClientConfig) {
    let proxy = Proxy::start(config.name_servers[0].clone()).await;
    let setup = Setup::new(config, 4).await;
    let config = ClientConfig::new(&proxy.address).route_interval(Duration::from_millis(200));
    let (gate, log) = (Arc::new(Semaphore::new(0)), Log::default());
    let (open, records) = (Arc::clone(&gate), log.clone());
    let settings = taskcenter_rocketmq::consumer::ConsumerConfig {
        rebalance_interval: Duration::from_millis(200),
        ..setup.member()
    };
    let member = crate::harness::Member::start(config, settings, &setup.topic, "*", move |message, _| {
        records.add(&message);
        let (open, gated) = (Arc::clone(&open), message.body.len() == 1);
        async move {
            if gated {
                open.acquire().await.unwrap().forget();
            }
            Disposition::Ack
        }
    });
    setup.send_many(0..8).await;
    log.reaches(8).await;
    proxy.cut();
    setup.send_many(10..30).await;
    log.reaches(28).await;
    // New work shows that rebalances without a name server do not take the queues.
    let (other, other_log) = setup.start_recorder(
        taskcenter_rocketmq::consumer::ConsumerConfig::new(crate::harness::unique("other")),
        "*",
    );
    other_log.reaches(28).await;
    setup.send_many(30..50).await;
    log.reaches(48).await;
    other.leave().await;
    proxy.restore();
    setup.send_many(50..60).await;
    log.reaches(58).await;
    gate.add_permits(100);
    member.leave().await;
    let mut keys: Vec<usize> = log.bodies().iter().map(|key| key.parse().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..8).chain(10..60).collect::<Vec<_>>(), "each message starts once");
}

crate::harness::on_both_versions! {
    a_missing_topic_is_a_problem_until_it_exists,
    without_a_name_server_messages_go_on_and_none_starts_twice,
}
