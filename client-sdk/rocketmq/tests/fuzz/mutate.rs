//! Inputs that are almost valid: samples of the corpus with small damage.
//!
//! `cargo test` uses fixed seeds, so that two runs of the same source check the same inputs.
//! `cargo xtask fuzz` uses fresh ones.

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;

/// Environment variable: the only seed to use, to repeat a run or to look for new failures.
const SEED: &str = "TASKCENTER_TEST_FUZZ_SEED";
/// Environment variable: multiplies the number of rounds. Default: 1.
const TIMES: &str = "TASKCENTER_TEST_FUZZ_TIMES";
/// The seed of every target.
const FIXED_SEED: u64 = 1;
/// Seeds that once found a failure, by target. The inputs that failed are in
/// `corpus/<target>/failed`.
const FAILED_SEEDS: [(&str, u64); 0] = [];

/// Text that decoders often handle wrongly.
const TOKENS: &[&str] = &[
    "",
    "\u{0}",
    "\u{1}",
    "\u{2}",
    " ",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "{",
    "}",
    "{{",
    "[",
    "]",
    ":",
    ",",
    "null",
    "-",
    "0",
    "-0",
    "1e309",
    "9223372036854775808",
    "-9223372036854775808",
    "NaN",
    "%RETRY%",
    "\u{feff}",
];
/// Lengths and numbers that decoders often handle wrongly, as big-endian words.
const WORDS: &[u32] =
    &[0, 1, 3, 4, 0x7f, 0x80, 0xff, 0xffff, 0x0100_0000, 0x0400_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}: {text:?} is not a whole number")))
}

fn seeds(target: &str) -> Vec<u64> {
    if let Some(seed) = number(SEED) {
        return vec![seed];
    }
    let failed = FAILED_SEEDS.iter().filter(|(of, _)| *of == target).map(|(_, seed)| *seed);
    std::iter::once(FIXED_SEED).chain(failed).collect()
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
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
        let file = dir.join(format!("rocketmq-{target}-{seed}"));
        println!("fuzz target {target} failed with {} bytes: {:.2000}", bytes.len(), bytes.escape_ascii());
        println!("repeat: {SEED}={seed} cargo test -p taskcenter-rocketmq --test fuzz {target}");
        if fs::create_dir_all(&dir).and_then(|()| fs::write(&file, &bytes)).is_ok() {
            println!(
                "keep: copy {} to client-sdk/rocketmq/tests/fuzz/corpus/{target}/failed/, and add the seed to \
                 FAILED_SEEDS in mutate.rs",
                file.display()
            );
        }
    }
}

/// Calls `check` with every file of the corpus, and with `rounds` damaged samples of each seed.
///
/// Files in `failed` are checked unchanged and not mutated: a new one does not change what a seed
/// generates.
pub fn each(target: &'static str, rounds: usize, mut check: impl FnMut(&[u8])) {
    let dir = corpus(target);
    let (samples, failed) = (files(&dir), files(&dir.join("failed")));
    assert!(samples.len() >= 3, "{}: expected at least 3 samples, found {}", dir.display(), samples.len());
    let rounds = rounds * number(TIMES).unwrap_or(1) as usize;
    for bytes in samples.iter().chain(&failed) {
        let input = Input { target, seed: FIXED_SEED, bytes: bytes.clone() };
        check(&input.bytes);
    }
    for seed in seeds(target) {
        let mut rng = Rng::with_seed(seed);
        for _ in 0..rounds {
            let mut bytes = rng.choice(&samples).cloned().unwrap_or_default();
            for _ in 0..rng.usize(1..=4) {
                damage(&mut rng, &mut bytes, &samples);
            }
            let input = Input { target, seed, bytes };
            check(&input.bytes);
        }
    }
}

/// Changes a few bytes: flips a bit, replaces a word, inserts, deletes, repeats, truncates, or
/// splices.
fn damage(rng: &mut Rng, input: &mut Vec<u8>, samples: &[Vec<u8>]) {
    let at = rng.usize(..=input.len());
    let end = (at + rng.usize(..=8)).min(input.len());
    match rng.u8(..9) {
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
        6 | 7 => {
            // Lengths are at multiples of four in most formats.
            let word = rng.choice(WORDS).copied().unwrap_or_default().to_be_bytes();
            let at = at / 4 * 4;
            let end = (at + 4).min(input.len());
            drop(input.splice(at..end, word));
        }
        _ => {
            let token = rng.choice(TOKENS).copied().unwrap_or_default();
            drop(input.splice(at..end, token.bytes()));
        }
    }
}
