//! A wire between a node and one of its back ends that a test can cut.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to `target` while it is whole.
pub struct Proxy {
    /// Where to connect to instead of the target.
    pub addr: String,
    whole: Arc<watch::Sender<bool>>,
}

impl Proxy {
    pub async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let addr = listener.local_addr().expect("it has an address").to_string();
        let whole = Arc::new(watch::channel(true).0);
        tokio::spawn(accept(listener, target.to_owned(), Arc::clone(&whole)));
        Self { addr, whole }
    }

    /// Breaks every connection, and accepts none that works.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Lets new connections through.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn accept(listener: TcpListener, target: String, whole: Arc<watch::Sender<bool>>) {
    while let Ok((inbound, _)) = listener.accept().await {
        let mut state = whole.subscribe();
        let target = target.clone();
        tokio::spawn(async move {
            if *state.borrow() {
                tokio::select! {
                    () = forward(inbound, &target) => {}
                    _ = state.wait_for(|whole| !whole) => {}
                }
            }
        });
    }
}

async fn forward(mut inbound: TcpStream, target: &str) {
    if let Ok(mut outbound) = TcpStream::connect(target).await {
        let _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
    }
}
