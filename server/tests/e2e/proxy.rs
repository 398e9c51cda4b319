//! A connection between a node and a back end that a test can cut.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to a target until [`Proxy::cut`].
pub struct Proxy {
    /// Address to connect to instead of the target.
    pub addr: String,
    is_open: Arc<watch::Sender<bool>>,
}

impl Proxy {
    pub async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let addr = listener.local_addr().expect("the listener has an address").to_string();
        let is_open = Arc::new(watch::channel(true).0);
        tokio::spawn(accept(listener, target.to_owned(), Arc::clone(&is_open)));
        Self { addr, is_open }
    }

    /// Closes every connection. New ones are closed at once.
    pub fn cut(&self) {
        self.is_open.send_replace(false);
    }

    /// Forwards new connections again.
    pub fn restore(&self) {
        self.is_open.send_replace(true);
    }
}

async fn accept(listener: TcpListener, target: String, is_open: Arc<watch::Sender<bool>>) {
    while let Ok((inbound, _)) = listener.accept().await {
        let mut state = is_open.subscribe();
        let target = target.clone();
        tokio::spawn(async move {
            if *state.borrow() {
                tokio::select! {
                    () = forward(inbound, &target) => {}
                    _ = state.wait_for(|is_open| !is_open) => {}
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
