//! The stores that suites run against. A new adapter needs one line in [`on_every_store!`].

/// Makes each case a test on every store.
///
/// `suite` is a module of this crate, `$area` a module of the suite, and `$case` a function in the
/// area. The suite's function `on_store` prepares what a case needs: it gets the fixture and the
/// case.
macro_rules! on_every_store {
    (suite $suite:ident; $($areas:tt)*) => {
        #[cfg(feature = "cluster")]
        on_every_store!(@store on_mongodb crate::store::mongo::MongoFixture, $suite, $($areas)*);
        on_every_store!(@store on_sqlite crate::store::sqlite::SqliteFixture, $suite, $($areas)*);
        on_every_store!(@store in_memory crate::store::memory::MemoryFixture, $suite, $($areas)*);
    };
    (@store $store:ident $fixture:path, $suite:ident, $($area:ident: $($case:ident)*;)*) => {
        mod $store {
            $(mod $area {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $case() {
                        let fixture = Box::new(<$fixture>::open().await);
                        crate::$suite::on_store(fixture, crate::$suite::$area::$case).await;
                    }
                )*
            })*
        }
    };
}
