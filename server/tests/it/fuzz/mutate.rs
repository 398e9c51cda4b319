//! Makes inputs that are nearly right: samples that are known to be interesting, with small damage.

use std::fs;
use std::path::Path;

use fastrand::Rng;
use serde_json::{Value, json};

/// The seed of a run that is to be repeated.
const SEED: &str = "TASKCENTER_TEST_FUZZ_SEED";
/// How many times as many rounds as usual, for a long run.
const TIMES: &str = "TASKCENTER_TEST_FUZZ_TIMES";

/// What decoders stumble over.
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

fn seed() -> u64 {
    match std::env::var(SEED) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{SEED} should be a whole number")),
        Err(_) => std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), SEED),
    }
}

/// The samples of a target, by name.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fuzz/corpus").join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 3, "{} is no corpus", dir.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Tells how to have the same again, where the test ends by a panic.
struct Told {
    target: &'static str,
    seed: u64,
    input: Vec<u8>,
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let input = self.input.escape_ascii();
            println!("{}, {SEED}={}, with {} bytes: {input:.2000}", self.target, self.seed, self.input.len());
        }
    }
}

/// Checks every sample, and then so many inputs that are made of them.
pub async fn each(target: &'static str, rounds: usize, mut check: impl AsyncFnMut(Vec<u8>)) {
    let (seed, samples) = (seed(), corpus(target));
    let times: usize = std::env::var(TIMES).map_or(1, |text| text.parse().expect("a whole number"));
    println!("{target}: {} samples, {} rounds, {SEED}={seed}", samples.len(), rounds * times);
    for sample in &samples {
        let _told = Told { target, seed, input: sample.clone() };
        check(sample.clone()).await;
    }
    let mut rng = Rng::with_seed(seed);
    for _ in 0..rounds * times {
        let input = made(&mut rng, &samples);
        let _told = Told { target, seed, input: input.clone() };
        check(input).await;
    }
}

fn made(rng: &mut Rng, samples: &[Vec<u8>]) -> Vec<u8> {
    let mut input = rng.choice(samples).cloned().unwrap_or_default();
    if rng.bool()
        && let Some(changed) = another_value(rng, &input)
    {
        return changed;
    }
    for _ in 0..rng.usize(1..=4) {
        damage(rng, &mut input, samples);
    }
    input
}

/// One value of the JSON at the end of the input, exchanged for another.
fn another_value(rng: &mut Rng, input: &[u8]) -> Option<Vec<u8>> {
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
        Value::Object(members) => node(rng, members.values_mut().nth(nth).expect("it is within")),
        _ => unreachable!("it has inner values"),
    }
}

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
