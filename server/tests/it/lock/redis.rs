//! The fixture on Redis: a key prefix a test. What it leaves behind runs out within a minute.

use std::sync::Arc;

use taskcenter_server::adapters::redis::RedisLock;
use taskcenter_server::ports::{Lock, PortError};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::Fixture;
use crate::store::samples::unique;

pub struct RedisFixture {
    one: Arc<RedisLock>,
    two: Arc<RedisLock>,
}

fn address() -> String {
    std::env::var("TASKCENTER_TEST_REDIS_ADDR").unwrap_or_else(|_| "127.0.0.1:16379".to_owned())
}

impl RedisFixture {
    pub fn open() -> Self {
        let prefix = format!("it{:032x}", unique());
        let node = || Arc::new(RedisLock::new(&address(), &prefix).unwrap());
        Self { one: node(), two: node() }
    }
}

impl Fixture for RedisFixture {
    fn one(&self) -> Arc<dyn Lock> {
        self.one.clone()
    }

    fn two(&self) -> Arc<dyn Lock> {
        self.two.clone()
    }
}

/// Lets connections through to Redis until it is aborted.
fn door(listener: TcpListener) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((mut outside, _)) = listener.accept().await {
            open.spawn(async move {
                let mut inside = TcpStream::connect(address()).await.unwrap();
                let _ = copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_calls_fail_and_with_it_they_work_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let lock = RedisLock::new(&at.to_string(), &format!("it{:032x}", unique())).unwrap();
    let is_absent = async || matches!(lock.acquire("a", &[1], 60_000).await, Err(PortError::Unavailable(..)));
    assert!(is_absent().await);
    assert!(matches!(lock.next_hint().await, Err(PortError::Unavailable(..))));

    for _ in 0..2 {
        let redis = door(TcpListener::bind(at).await.unwrap());
        let is_back = async { while lock.acquire("a", &[1], 60_000).await.is_err() {} };
        tokio::time::timeout(std::time::Duration::from_secs(10), is_back).await.expect("it never came back");
        let woken = async {
            tokio::select! {
                hint = async { loop { if let Ok(hint) = lock.next_hint().await { return hint } } } => hint,
                () = async { loop { let _ = lock.wake(&[4]).await; } } => Vec::new(),
            }
        };
        let hint =
            tokio::time::timeout(std::time::Duration::from_secs(10), woken).await.expect("no hint came");
        assert_eq!(hint, [4]);
        redis.abort();
        assert!(redis.await.unwrap_err().is_cancelled());
        assert!(is_absent().await);
    }
}

/// A Redis that accepts and never answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_redis_costs_a_bounded_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lock = RedisLock::new(&listener.local_addr().unwrap().to_string(), "it").unwrap();
    let asked = tokio::time::timeout(std::time::Duration::from_secs(3), lock.join("a", 1_000)).await;
    assert!(matches!(asked, Ok(Err(PortError::Unavailable(..)))), "{asked:?}");
}
