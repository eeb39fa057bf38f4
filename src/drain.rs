//! One signal to stop taking on, finish, close. The listener, each connection and the monitor hold a
//! `Drain`; `cli/run.rs` starts it once, on SIGTERM or SIGINT.

use tokio::sync::watch;

/// Starts the drain. Dropped without a start, it never happens.
#[derive(Debug)]
pub struct DrainStarter(watch::Sender<bool>);

/// Tells whether the drain began, and waits for it.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<bool>);

/// Returns both ends.
pub fn channel() -> (DrainStarter, Drain) {
    let (sender, receiver) = watch::channel(false);
    (DrainStarter(sender), Drain(receiver))
}

impl DrainStarter {
    /// Begins the drain, for every holder at once.
    pub fn start(&self) {
        self.0.send_replace(true);
    }
}

impl Drain {
    /// Tells whether the drain began.
    pub fn has_started(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the drain begins; for ever when it never does.
    pub async fn started(&mut self) {
        if self.0.wait_for(|started| *started).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
