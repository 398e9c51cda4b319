//! Logs of runs.

use futures_util::future::join_all;
use taskcenter_server::core::run_log::{
    HEAD_BYTES, LogBatch, LogChunk, LogLevel, LogLine, LogPart, MAX_BATCH_BYTES, TAIL_BYTES,
};
use taskcenter_server::core::{Run, RunId};
use taskcenter_server::ports::{AppendedLog, MAX_LOG_PART_BYTES, Store};

use super::Fixture;
use super::samples::{PAST, ended, run, unique};

fn line(text: &str) -> LogLine {
    LogLine { at: PAST, level: LogLevel::Warn, text: text.to_owned() }
}

pub fn batch(run: &RunId, texts: &[&str]) -> LogBatch {
    let lines = texts.iter().map(|text| line(text)).collect();
    LogBatch { run_id: run.clone(), attempt: 1, batch_id: format!("{:x}", unique()), lines }
}

async fn stored_run(store: &dyn Store) -> Run {
    let run = run();
    store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
    run
}

async fn append(store: &dyn Store, batch: &LogBatch) -> LogChunk {
    match store.append_log(batch).await.unwrap() {
        AppendedLog::Stored(chunk) => *chunk,
        other => panic!("{other:?}"),
    }
}

/// Reads a log in parts.
async fn read_all(store: &dyn Store, id: &RunId) -> Vec<LogChunk> {
    let (mut chunks, mut from) = (Vec::<LogChunk>::new(), 0);
    loop {
        let LogPart { chunks: next, written } = store.log(id, from).await.unwrap();
        let Some(last) = next.last() else {
            assert_eq!(chunks.last().map_or(0, |last| last.end().line), written);
            return chunks;
        };
        let bytes: u64 = next.iter().map(|chunk| chunk.batch.bytes()).sum();
        assert!(bytes <= MAX_LOG_PART_BYTES + MAX_BATCH_BYTES, "{bytes} bytes in a part");
        from = last.end().line;
        chunks.extend(next);
    }
}

fn texts(chunks: &[LogChunk]) -> Vec<&str> {
    chunks.iter().flat_map(|chunk| &chunk.batch.lines).map(|line| line.text.as_str()).collect()
}

pub async fn lines_are_read_back_in_order(on: &dyn Fixture) {
    let store = on.one();
    let (run, other) = (stored_run(&*store).await, stored_run(&*store).await);
    let first = batch(&run.id, &["a", "{\"$set\": 1}\u{0}\n\u{1F980}"]);
    let second = LogBatch { attempt: u32::MAX, ..batch(&run.id, &[""]) };
    for batch in [&first, &second] {
        append(&*store, batch).await;
    }
    append(&*store, &batch(&other.id, &["other"])).await;
    let chunks = read_all(&*store, &run.id).await;
    assert_eq!(chunks.iter().map(|chunk| chunk.batch.clone()).collect::<Vec<_>>(), [first, second]);
    assert_eq!((chunks[0].start.line, chunks[1].start), (0, chunks[0].end()));
    assert_eq!(on.two().log(&run.id, 0).await.unwrap(), LogPart { chunks, written: 3 });
}

pub async fn an_append_does_not_write_the_run(on: &dyn Fixture) {
    let store = on.one();
    let run = stored_run(&*store).await;
    append(&*store, &batch(&run.id, &["a"])).await;
    assert_eq!(store.run(&run.id).await.unwrap(), Some(run));
    let unknown = RunId::from_text("none");
    assert_eq!(store.append_log(&batch(&unknown, &["a"])).await.unwrap(), AppendedLog::NoRun);
    assert_eq!(store.log(&unknown, 0).await.unwrap(), LogPart::default());
}

pub async fn a_repeated_batch_is_stored_once(on: &dyn Fixture) {
    let store = on.one();
    let run = stored_run(&*store).await;
    let (first, second) = (batch(&run.id, &["a"]), batch(&run.id, &["b"]));
    append(&*store, &first).await;
    append(&*store, &second).await;
    assert_eq!(on.two().append_log(&first).await.unwrap(), AppendedLog::Repeated);
    assert_eq!(texts(&read_all(&*store, &run.id).await), ["a", "b"]);
    let third = batch(&run.id, &["c"]);
    let (one, two) = (on.one(), on.two());
    let answers = tokio::join!(one.append_log(&third), two.append_log(&third));
    let answers = [answers.0.unwrap(), answers.1.unwrap()];
    assert!(answers.contains(&AppendedLog::Repeated), "{answers:?}");
    assert_eq!(texts(&read_all(&*store, &run.id).await), ["a", "b", "c"]);
}

pub async fn concurrent_writers_lose_no_line(on: &dyn Fixture) {
    let (one, two) = (on.one(), on.two());
    let run = stored_run(&*one).await;
    let batches: Vec<LogBatch> = (0..10).map(|n| batch(&run.id, &[&format!("{n}"), "x"])).collect();
    let appends = batches.iter().zip([&one, &two].into_iter().cycle());
    join_all(appends.map(|(batch, store)| append(&**store, batch))).await;
    let chunks = read_all(&*one, &run.id).await;
    let starts: Vec<u64> = chunks.iter().map(|chunk| chunk.start.line).collect();
    assert_eq!(starts, (0..10).map(|n| 2 * n).collect::<Vec<_>>());
    assert!(batches.iter().all(|batch| chunks.iter().any(|chunk| chunk.batch == *batch)));
}

/// Appends batches of 8 lines of 4 KiB.
async fn append_large(store: &dyn Store, id: &RunId, batches: usize) {
    let text = "x".repeat(4_000);
    for _ in 0..batches {
        append(store, &batch(id, &[text.as_str(); 8])).await;
    }
}

pub async fn a_log_is_read_from_any_line(on: &dyn Fixture) {
    let store = on.one();
    let run = stored_run(&*store).await;
    append_large(&*store, &run.id, 8).await;
    for from in [0, 1, 8, 15, 63] {
        let part = store.log(&run.id, from).await.unwrap();
        assert_eq!((part.chunks[0].start.line, part.written), (from / 8 * 8, 64), "from {from}");
    }
    for from in [64, u64::MAX] {
        assert_eq!(store.log(&run.id, from).await.unwrap(), LogPart { chunks: Vec::new(), written: 64 });
    }
    assert!(store.log(&run.id, 0).await.unwrap().chunks.len() < 8, "a part is bounded");
}

pub async fn a_long_log_keeps_its_beginning_and_its_end(on: &dyn Fixture) {
    let store = on.one();
    let run = stored_run(&*store).await;
    append_large(&*store, &run.id, 30).await;
    let chunks = read_all(&*store, &run.id).await;
    let bytes: u64 = chunks.iter().map(|chunk| chunk.batch.bytes()).sum();
    assert!(bytes <= HEAD_BYTES + TAIL_BYTES + 2 * MAX_BATCH_BYTES, "{bytes} bytes");
    let gaps: Vec<_> = chunks.windows(2).filter(|pair| pair[0].end().line != pair[1].start.line).collect();
    assert!(matches!(gaps.as_slice(), [pair] if pair[0].end().byte >= HEAD_BYTES), "{} gaps", gaps.len());
    assert_eq!((chunks[0].start.line, chunks[chunks.len() - 1].end().line), (0, 240));
    let removed = gaps[0][0].end().line;
    let part = store.log(&run.id, removed + 1).await.unwrap();
    assert_eq!(part.chunks[0].start.line, gaps[0][1].start.line, "the next line that exists");
}

pub async fn a_log_is_pruned_with_its_run(on: &dyn Fixture) {
    let store = on.one();
    let (old, open) = (ended(run(), PAST.plus_ms(-1)), run());
    store.insert_runs(&[old.clone(), open.clone()]).await.unwrap();
    for run in [&old, &open] {
        append(&*store, &batch(&run.id, &["a"])).await;
    }
    store.prune(PAST, PAST, 10).await.unwrap();
    assert_eq!(store.log(&old.id, 0).await.unwrap(), LogPart::default());
    assert_eq!(store.log(&open.id, 0).await.unwrap().written, 1);
    assert_eq!(store.append_log(&batch(&old.id, &["a"])).await.unwrap(), AppendedLog::NoRun);
}
