//! Inputs that are almost valid: samples of the corpus with small damage.
//!
//! The tests use fixed seeds, so that two runs of the same source check the same inputs.

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use serde_json::{Value, json};

/// Environment variable: the only seed to use, to repeat a run or to look for new failures.
const SEED: &str = "TASKCENTER_TEST_FUZZ_SEED";
/// Environment variable: multiplies the number of rounds. Default: 1.
const TIMES: &str = "TASKCENTER_TEST_FUZZ_TIMES";
/// The seed of every target.
const FIXED_SEED: u64 = 1;
/// Seeds that once found a failure, by target. The inputs that failed are in
/// `corpus/<target>/failed`.
const FAILED_SEEDS: [(&str, u64); 1] = [("entries", 4_772_329_409_565_764_248)];

/// Text that decoders often handle wrongly.
const TOKENS: &[&str] = &[
    "",
    "\u{0}",
    " ",
    "\n",
    "\r\n",
    "\t",
    "\"",
    "'",
    "\\",
    "\\u0000",
    "\\ud800",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "-",
    "+",
    ".",
    "e",
    "E400",
    "0",
    "-0",
    "-1",
    "1",
    "7",
    "59",
    "60",
    "31",
    "30 2",
    "99999999999999999999",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "4294967296",
    "1e309",
    "0.1",
    "NaN",
    "*",
    "?",
    "*/",
    "/0",
    "L",
    "W",
    "#5",
    "+MON",
    "FRI-MON",
    "@every ",
    "@daily",
    "TZ=",
    "CRON_TZ=",
    "Pacific/Apia ",
    "Europe/Berlin ",
    "1h",
    "ms",
    "$gt",
    "$where",
    "a.b",
    "%",
    "%ff",
    "%00",
    "&",
    "=",
    "~",
    "|",
    "||",
    ";",
    "--",
    "../",
    "\u{feff}",
    "\u{202e}",
    "\u{10ffff}",
    "\u{3000}",
];

/// JSON values that decoders often handle wrongly.
fn values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e308),
        json!(0.5),
        json!(""),
        json!(" "),
        json!("*"),
        json!("\u{0}"),
        json!("x".repeat(300)),
        json!("1970-01-01T00:00:00Z"),
        json!("9999-12-31T23:59:59.999999999Z"),
        json!("-009999-01-01T00:00:00Z"),
        json!("2030-01-31T08:00:00+24:00"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"$gt": ""}),
        json!({"kind": "cron", "cron": "@daily", "zone": "Moon/Tycho"}),
        json!({"kind": "every", "period_ms": i64::MAX}),
        json!({"kind": "once"}),
    ]
}

fn seeds(target: &str) -> Vec<u64> {
    if let Ok(text) = std::env::var(SEED) {
        return vec![text.parse().unwrap_or_else(|_| panic!("{SEED}: {text:?} is not a whole number"))];
    }
    let failed = FAILED_SEEDS.iter().filter(|(of, _)| *of == target).map(|(_, seed)| *seed);
    std::iter::once(FIXED_SEED).chain(failed).collect()
}

fn times() -> usize {
    std::env::var(TIMES)
        .map_or(1, |text| text.parse().unwrap_or_else(|_| panic!("{TIMES}: {text:?} is not a whole number")))
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fuzz/corpus").join(target)
}

/// The files of a directory in the order of their names.
fn files(dir: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// An input under test. If the test panics, writes the input to a file and prints how to repeat the
/// run.
struct Input {
    target: &'static str,
    seed: u64,
    bytes: Vec<u8>,
}

impl Drop for Input {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let Self { target, seed, bytes } = self;
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
        let file = dir.join(format!("{target}-{seed}"));
        let is_written = fs::create_dir_all(&dir).and_then(|()| fs::write(&file, &bytes)).is_ok();
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("fuzz::");
        println!("fuzz target {target} failed with {} bytes: {:.2000}", bytes.len(), bytes.escape_ascii());
        println!("repeat: {SEED}={seed} cargo test -p taskcenter-server --test it {test}");
        if is_written {
            println!(
                "keep: copy {} to server/tests/it/fuzz/corpus/{target}/failed/, and add the seed to FAILED_SEEDS in mutate.rs",
                file.display()
            );
        }
    }
}

/// Calls `check` with every file of the corpus, and with `rounds` damaged samples of each seed.
///
/// Files in `failed` are checked unchanged and not mutated: a new one does not change what a seed
/// generates.
pub async fn each(target: &'static str, rounds: usize, mut check: impl AsyncFnMut(Vec<u8>)) {
    let dir = corpus(target);
    let (samples, failed) = (files(&dir), files(&dir.join("failed")));
    assert!(samples.len() >= 3, "{}: expected at least 3 samples, found {}", dir.display(), samples.len());
    let (seeds, rounds) = (seeds(target), rounds * times());
    println!(
        "{target}: {} files, {rounds} rounds of each of the seeds {seeds:?}",
        samples.len() + failed.len()
    );
    for bytes in samples.iter().chain(&failed) {
        let input = Input { target, seed: seeds[0], bytes: bytes.clone() };
        check(input.bytes.clone()).await;
    }
    for seed in seeds {
        let mut rng = Rng::with_seed(seed);
        for _ in 0..rounds {
            let input = Input { target, seed, bytes: damaged(&mut rng, &samples) };
            check(input.bytes.clone()).await;
        }
    }
}

fn damaged(rng: &mut Rng, samples: &[Vec<u8>]) -> Vec<u8> {
    let mut input = rng.choice(samples).cloned().unwrap_or_default();
    if rng.bool()
        && let Some(replaced) = with_other_values(rng, &input)
    {
        return replaced;
    }
    for _ in 0..rng.usize(1..=4) {
        damage(rng, &mut input, samples);
    }
    input
}

/// Replaces one or two values of the JSON document that ends the input. `None` if the input has
/// none.
fn with_other_values(rng: &mut Rng, input: &[u8]) -> Option<Vec<u8>> {
    let begin = input.iter().position(|byte| b"{[".contains(byte))?;
    let mut document: Value = serde_json::from_slice(&input[begin..]).ok()?;
    let values = values();
    for _ in 0..rng.usize(1..=2) {
        *node(rng, &mut document) = rng.choice(&values).cloned().unwrap_or_default();
    }
    let mut changed = input[..begin].to_vec();
    changed.extend(document.to_string().into_bytes());
    Some(changed)
}

/// A random value within `value`, or `value` itself.
fn node<'a>(rng: &mut Rng, value: &'a mut Value) -> &'a mut Value {
    let inner = match value {
        Value::Array(items) if !items.is_empty() => items.len(),
        Value::Object(members) if !members.is_empty() => members.len(),
        _ => return value,
    };
    if rng.u8(..8) == 0 {
        return value;
    }
    let nth = rng.usize(..inner);
    match value {
        Value::Array(items) => node(rng, &mut items[nth]),
        Value::Object(members) => node(rng, members.values_mut().nth(nth).expect("nth is within the object")),
        _ => unreachable!("checked above: the value has inner values"),
    }
}

/// Changes a few bytes: flips a bit, inserts, deletes, repeats, truncates, or splices.
fn damage(rng: &mut Rng, input: &mut Vec<u8>, samples: &[Vec<u8>]) {
    let at = rng.usize(..=input.len());
    let end = (at + rng.usize(..=8)).min(input.len());
    match rng.u8(..7) {
        0 if at < input.len() => input[at] ^= 1 << rng.u8(..8),
        1 => input.insert(at, rng.u8(..)),
        2 => drop(input.drain(at..end)),
        3 => {
            let again = input[at..end].repeat(rng.usize(1..=4));
            drop(input.splice(at..at, again));
        }
        4 => input.truncate(at),
        5 => {
            let other = rng.choice(samples).map_or(&[][..], Vec::as_slice);
            let from = rng.usize(..=other.len());
            drop(input.splice(at..end, other[from..].iter().copied().take(64)));
        }
        _ => {
            let token = rng.choice(TOKENS).copied().unwrap_or_default();
            drop(input.splice(at..end, token.bytes()));
        }
    }
}
