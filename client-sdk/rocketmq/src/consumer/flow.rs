//! Flow control: bounds of the pulled messages over all queues.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds in messages and bytes.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    messages: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    max_messages: usize,
    max_bytes: u32,
}

/// Room of one message. Its drop makes room for others.
#[derive(Debug)]
pub(crate) struct Room {
    _message: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// Room of the messages of one pull. Its drop makes room for others.
#[derive(Debug)]
pub(crate) struct Reserved {
    messages: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
}

impl Reserved {
    /// Returns the number of messages.
    pub(crate) fn messages(&self) -> usize {
        self.messages.num_permits()
    }
}

impl Flow {
    /// Creates bounds. `max_bytes` is at most 4 GiB.
    pub(crate) fn new(max_messages: usize, max_bytes: usize) -> Self {
        let max_bytes = u32::try_from(max_bytes).unwrap_or(u32::MAX);
        Self {
            messages: Arc::new(Semaphore::new(max_messages)),
            bytes: Arc::new(Semaphore::new(max_bytes as usize)),
            max_messages,
            max_bytes,
        }
    }

    /// A message larger than the bound takes all of it, so that it can pass alone.
    fn cost(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.max_bytes)
    }

    /// Returns the part of the bytes that one pull may reserve: at most an eighth of all.
    pub(crate) fn share(&self, bytes: usize) -> usize {
        bytes.min(self.max_bytes as usize / 8)
    }

    /// Waits for room for this number of messages and bytes. Never returns `None`, because the bounds
    /// are never closed.
    pub(crate) async fn reserve(&self, messages: usize, bytes: usize) -> Option<Reserved> {
        let messages = messages.clamp(1, self.max_messages) as u32;
        let messages = Arc::clone(&self.messages).acquire_many_owned(messages).await.ok()?;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(self.cost(bytes)).await.ok()?;
        Some(Reserved { messages, bytes })
    }

    /// Takes room for a message of this size: the reserved room first, then what is free.
    pub(crate) fn take(&self, reserved: &mut Option<Reserved>, bytes: usize) -> Option<Room> {
        let cost = self.cost(bytes) as usize;
        let from_reserved = reserved.as_ref().map_or(0, |room| room.bytes.num_permits().min(cost));
        let mut free = Arc::clone(&self.bytes).try_acquire_many_owned((cost - from_reserved) as u32).ok()?;
        let message = match reserved.as_mut().and_then(|room| room.messages.split(1)) {
            Some(message) => message,
            None => Arc::clone(&self.messages).try_acquire_owned().ok()?,
        };
        if let Some(part) = reserved.as_mut().and_then(|room| room.bytes.split(from_reserved)) {
            free.merge(part);
        }
        Some(Room { _message: message, _bytes: free })
    }

    /// Returns the number of messages for which there is room.
    pub(crate) fn free_messages(&self) -> usize {
        self.messages.available_permits()
    }

    /// Returns the number of bytes for which there is room.
    pub(crate) fn free_bytes(&self) -> usize {
        self.bytes.available_permits()
    }

    /// Returns the number of pulled messages.
    pub(crate) fn used_messages(&self) -> usize {
        self.max_messages.saturating_sub(self.free_messages())
    }

    /// Returns the size of the pulled messages in bytes.
    pub(crate) fn used_bytes(&self) -> usize {
        (self.max_bytes as usize).saturating_sub(self.free_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_bytes_are_bounded() {
        let flow = Flow::new(2, 100);
        let first = flow.take(&mut None, 60).unwrap();
        assert!(flow.take(&mut None, 41).is_none());
        assert_eq!((flow.free_messages(), flow.free_bytes()), (1, 40));
        let _second = flow.take(&mut None, 1).unwrap();
        assert!(flow.take(&mut None, 0).is_none());
        drop(first);
        assert_eq!((flow.used_messages(), flow.used_bytes()), (1, 1));
    }

    #[tokio::test]
    async fn a_message_larger_than_the_bound_passes_alone() {
        let flow = Flow::new(2, 100);
        let small = flow.take(&mut None, 1).unwrap();
        let waiting = tokio::spawn({
            let flow = flow.clone();
            async move { flow.reserve(1, 1_000).await }
        });
        drop(small);
        let mut reserved = waiting.await.unwrap();
        let _large = flow.take(&mut reserved, 1_000).unwrap();
        assert!(flow.take(&mut reserved, 1).is_none());
    }

    #[tokio::test]
    async fn reserved_room_is_used_first_and_the_rest_returns() {
        let flow = Flow::new(4, 100);
        let mut reserved = flow.reserve(3, 50).await;
        assert_eq!((reserved.as_ref().unwrap().messages(), flow.free_bytes()), (3, 50));
        let _first = flow.take(&mut reserved, 30).unwrap();
        assert_eq!((flow.free_messages(), flow.free_bytes()), (1, 50));
        let _second = flow.take(&mut reserved, 40).unwrap();
        assert_eq!((flow.free_messages(), flow.free_bytes()), (1, 30));
        assert!(flow.take(&mut reserved, 31).is_none());
        drop(reserved);
        assert_eq!((flow.used_messages(), flow.used_bytes()), (2, 70));
    }
}
