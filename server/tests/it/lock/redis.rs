//! The fixture on Redis: one key prefix per test. The keys expire within a minute. Tests of this
//! adapter only.

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

/// Forwards connections to Redis until the task is aborted.
fn proxy(listener: TcpListener) -> JoinHandle<()> {
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
async fn calls_fail_without_redis_and_work_again_after_its_return() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let lock = RedisLock::new(&at.to_string(), &format!("it{:032x}", unique())).unwrap();
    let is_absent = async || matches!(lock.acquire("a", &[1], 60_000).await, Err(PortError::Unavailable(..)));
    assert!(is_absent().await);
    assert!(matches!(lock.next_hint().await, Err(PortError::Unavailable(..))));

    for _ in 0..2 {
        let redis = proxy(TcpListener::bind(at).await.unwrap());
        let is_back = async { while lock.acquire("a", &[1], 60_000).await.is_err() {} };
        tokio::time::timeout(std::time::Duration::from_secs(10), is_back)
            .await
            .expect("Redis is reachable again");
        let received = async {
            tokio::select! {
                hint = async { loop { if let Ok(hint) = lock.next_hint().await { return hint } } } => hint,
                () = async { loop { let _ = lock.wake(&[4]).await; } } => Vec::new(),
            }
        };
        let hint =
            tokio::time::timeout(std::time::Duration::from_secs(10), received).await.expect("a hint arrives");
        assert_eq!(hint, [4]);
        redis.abort();
        assert!(redis.await.unwrap_err().is_cancelled());
        assert!(is_absent().await);
    }
}

/// The listener accepts connections and never answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_to_a_frozen_redis_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lock = RedisLock::new(&listener.local_addr().unwrap().to_string(), "it").unwrap();
    let result = tokio::time::timeout(std::time::Duration::from_secs(3), lock.join("a", 1_000)).await;
    assert!(matches!(result, Ok(Err(PortError::Unavailable(..)))), "{result:?}");
}
