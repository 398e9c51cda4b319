//! Tests of commits whose flush takes a while, fails, or is the last one before a power failure.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use futures_util::future::{Either, join_all, select};
use futures_util::poll;
use rusqlite::Connection;
use tempfile::TempDir;

use super::checkpointer::Checkpointer;
use super::durability::Durability;
use super::flusher::{self, Flush};
use super::open_file::OpenFile;
use super::readers::Readers;
use super::rows::Db;
use super::writer::Writer;
use super::{READER_CACHE_KIB, connect, connect_reader, enable_wal};
use crate::ports::{PortError, Result};

struct Stage {
    writer: Writer,
    readers: Readers,
    dir: TempDir,
}

fn database(dir: &Path) -> PathBuf {
    dir.join("numbers.db")
}

fn log(database: &Path) -> PathBuf {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Opens a database whose flushes `flush` makes from the real flush.
fn stage(flush: impl FnOnce(Flush, &Path) -> Flush) -> Stage {
    let dir = TempDir::new().unwrap();
    let path = database(dir.path());
    let db = connect(&path, READER_CACHE_KIB).unwrap();
    enable_wal(&db).unwrap();
    db.execute_batch("CREATE TABLE numbers (n INTEGER PRIMARY KEY); PRAGMA synchronous = NORMAL").unwrap();
    let (file, durability) = (Arc::new(OpenFile::new(&path)), Arc::new(Durability::default()));
    let reader = Db::new(connect_reader(&path, None).unwrap(), &Arc::default());
    let readers = Readers::start(vec![reader], None, &file, &durability).unwrap();
    let checkpointer = Checkpointer::start(connect(&path, READER_CACHE_KIB).unwrap()).unwrap();
    let flush = flush(flusher::of_log(&path).unwrap(), &path);
    let db = Db::new(db, &Arc::default());
    Stage { writer: Writer::start(db, checkpointer, flush, &file, &durability).unwrap(), readers, dir }
}

/// Returns a flush that waits for an item of `allowed`, after it has told `begun`.
fn held(flush: Flush, begun: Sender<()>, allowed: Receiver<io::Result<()>>) -> Flush {
    Box::new(move || {
        begun.send(()).unwrap();
        allowed.recv().unwrap_or(Ok(()))?;
        flush()
    })
}

fn add(db: &Connection, n: i64) -> Result<()> {
    db.execute("INSERT INTO numbers VALUES (?1)", [n])?;
    Ok(())
}

fn numbers(db: &Connection) -> Result<Vec<i64>> {
    let mut find = db.prepare("SELECT n FROM numbers ORDER BY n")?;
    Ok(find.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_transaction_runs_during_a_flush_and_its_answer_waits() {
    let ((begun, begins), (allow, allowed)) = (channel(), channel());
    let stage = stage(|flush, _| held(flush, begun, allowed));
    let first = std::pin::pin!(stage.writer.write(|db| add(db, 1)));
    let Either::Right((_begins, mut first)) =
        select(first, std::pin::pin!(tokio::task::spawn_blocking(move || begins.recv().map(|()| begins))))
            .await
    else {
        panic!("the write was answered before its flush")
    };
    let has_run = Arc::new(AtomicBool::new(false));
    let runs = Arc::clone(&has_run);
    let mut second = std::pin::pin!(stage.writer.write(move |db| {
        add(db, 2)?;
        runs.store(true, Ordering::SeqCst);
        Ok(())
    }));
    assert!(poll!(&mut second).is_pending());
    while !has_run.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    allow.send(Ok(())).unwrap();
    first.await.unwrap();
    assert!(poll!(&mut second).is_pending());
    allow.send(Ok(())).unwrap();
    second.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_waits_for_the_flush_of_its_snapshot() {
    let ((begun, begins), (allow, allowed)) = (channel(), channel());
    let stage = stage(|flush, _| held(flush, begun, allowed));
    let mut write = std::pin::pin!(stage.writer.write(|db| add(db, 1)));
    assert!(poll!(&mut write).is_pending());
    tokio::task::spawn_blocking(move || begins.recv().map(|()| begins)).await.unwrap().unwrap();
    // The commit is visible, and not yet durable.
    assert_eq!(stage.readers.read_for_write(|db| numbers(db)).await.unwrap(), [1]);
    let mut read = std::pin::pin!(stage.readers.read(|db| numbers(db)));
    assert!(poll!(&mut read).is_pending());
    let other = stage.readers.read_for_write(|_| Ok(()));
    other.await.expect("the reading thread has finished the first query");
    tokio::task::yield_now().await;
    assert!(poll!(&mut read).is_pending());
    allow.send(Ok(())).unwrap();
    assert_eq!(read.await.unwrap(), [1]);
    write.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_flush_all_work_is_refused() {
    let ((begun, begins), (allow, allowed)) = (channel(), channel());
    let stage = stage(|flush, _| held(flush, begun, allowed));
    allow.send(Err(io::Error::other("error of the test"))).unwrap();
    let first = stage.writer.write(|db| add(db, 1)).await;
    drop((allow, begins));
    for answer in [first, stage.writer.write(|db| add(db, 2)).await] {
        let Err(PortError::Unavailable(_, cause)) = answer else { panic!("{answer:?}") };
        assert!(cause.to_string().contains("did not reach the disk"), "{cause}");
    }
    assert!(stage.readers.read(|db| numbers(db)).await.is_err());
}

/// Copies the files before each flush. A flush guarantees no later bytes, so the copies of the last flush
/// before an answer are the least that a power failure leaves.
fn copied(flush: Flush, from: &Path, to: &Path) -> Flush {
    let (from, to) = (from.to_owned(), to.to_owned());
    let next = to.with_extension("next");
    Box::new(move || {
        std::fs::copy(&from, &next)?;
        std::fs::copy(log(&from), log(&next))?;
        flush()?;
        std::fs::rename(&next, &to)?;
        std::fs::rename(log(&next), log(&to))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answered_writes_survive_a_power_failure() {
    let copies = TempDir::new().unwrap();
    let copy = database(copies.path());
    let stage = stage(|flush, path| copied(flush, path, &copy));
    for round in 0..20 {
        let writes = (10 * round..10 * (round + 1)).map(|n| stage.writer.write(move |db| add(db, n)));
        assert!(join_all(writes).await.iter().all(Result::is_ok));
        // Nothing is written now: the files are those of the last flush.
        let after = TempDir::new().unwrap();
        for file in [&copy, &log(&copy)] {
            std::fs::copy(file, after.path().join(file.file_name().unwrap())).unwrap();
        }
        let found = numbers(&Connection::open(database(after.path())).unwrap()).unwrap();
        assert_eq!(found, (0..10 * (round + 1)).collect::<Vec<_>>());
    }
    assert!(stage.dir.path().is_dir());
}
