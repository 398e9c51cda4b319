//! The fixture within one process: handles of two nodes.

use std::sync::Arc;

use taskcenter_server::adapters::clock::SystemClock;
use taskcenter_server::adapters::local::LocalLock;
use taskcenter_server::ports::Lock;

use super::Fixture;

pub struct LocalFixture {
    one: Arc<LocalLock>,
    two: Arc<LocalLock>,
}

impl LocalFixture {
    pub fn open() -> Self {
        let one = LocalLock::new(Arc::new(SystemClock));
        let two = one.another();
        Self { one: Arc::new(one), two: Arc::new(two) }
    }
}

impl Fixture for LocalFixture {
    fn one(&self) -> Arc<dyn Lock> {
        self.one.clone()
    }

    fn two(&self) -> Arc<dyn Lock> {
        self.two.clone()
    }
}
