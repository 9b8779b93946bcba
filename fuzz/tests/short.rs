//! The corpus of every target, and changes of it: what any toolchain can do with every run of the tests. Longer, and led by
//! what is covered: `make fuzz`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use greenroom_fuzz::{TARGETS, Target};

/// Changed inputs for each target.
const TRIES: u64 = 20_000;

/// An input is changed so often at once, at most.
const CHANGES: u64 = 8;

/// No input is longer.
const LONGEST: usize = 16 << 10;

/// Numbers without a pattern (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut out: Vec<(PathBuf, Vec<u8>)> = std::fs::read_dir(dir(name))
        .unwrap_or_else(|error| panic!("{name} has no corpus: {error}"))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    out.sort();
    out
}

fn tried(name: &str, target: Target, input: &[u8], from: &str) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        let kept = std::env::temp_dir().join(format!("greenroom-fuzz-{name}-{}", std::process::id()));
        std::fs::write(&kept, input).unwrap();
        panic!("{name}: {from}: the input is in {}: put it into the corpus", kept.display());
    }
}

/// Words that parsers know, from the corpus itself: whole lines and what stands between quotes and spaces.
fn words(corpus: &[(PathBuf, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    for (_, input) in corpus {
        out.extend(
            input.split(|b| b"\n\" =:,".contains(b)).filter(|w| !w.is_empty() && w.len() < 64).map(<[u8]>::to_vec),
        );
        out.extend(input.split(|b| *b == b'\n').filter(|line| line.len() < 256).map(<[u8]>::to_vec));
    }
    out.extend([b"\0".to_vec(), b"\xff".to_vec(), b"..".to_vec(), b"\r\n".to_vec(), u64::MAX.to_string().into_bytes()]);
    out.extend([b"-1".to_vec(), b"[".repeat(300), vec![0xff; 8], vec![0; 8], "\u{202e}".as_bytes().to_vec()]);
    out.sort();
    out.dedup();
    out
}

fn changed(input: &mut Vec<u8>, random: &mut Random, words: &[Vec<u8>], other: &[u8]) {
    for _ in 0..=random.next() % CHANGES {
        let at = random.below(input.len() + 1);
        match random.next() % 7 {
            0 => input.insert(at, random.next() as u8),
            1 if at < input.len() => input[at] = random.next() as u8,
            2 if at < input.len() => input[at] ^= 1 << (random.next() % 8),
            3 => drop(input.drain(at..(at + random.below(16)).min(input.len()))),
            4 => drop(input.splice(at..at, words[random.below(words.len())].iter().copied())),
            5 => {
                // A piece of it again, somewhere else.
                let from = random.below(input.len() + 1);
                let piece = input[from..(from + random.below(64)).min(input.len())].to_vec();
                drop(input.splice(at..at, piece));
            }
            _ => {
                // The end of another.
                input.truncate(at);
                input.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
        }
    }
    input.truncate(LONGEST);
}

#[test]
fn every_target_bears_its_corpus_and_changes_of_it() {
    let seed = std::env::var("GREENROOM_SEED")
        .ok()
        .map_or_else(|| RandomState::new().build_hasher().finish(), |text| text.parse().unwrap());
    println!("GREENROOM_SEED={seed}");
    std::thread::scope(|threads| {
        for (name, target) in TARGETS {
            threads.spawn(move || {
                let corpus = corpus(name);
                assert!(!corpus.is_empty(), "{name} has no corpus");
                for (path, input) in &corpus {
                    tried(name, target, input, &path.display().to_string());
                }
                let (words, mut random) = (words(&corpus), Random(seed));
                for n in 0..TRIES {
                    let mut input = corpus[random.below(corpus.len())].1.clone();
                    let other = &corpus[random.below(corpus.len())].1;
                    changed(&mut input, &mut random, &words, other);
                    tried(name, target, &input, &format!("GREENROOM_SEED={seed}, try {n}"));
                }
            });
        }
    });
}

#[test]
fn every_target_is_there_for_libfuzzer() {
    let named = |dir: PathBuf| -> Vec<String> {
        let entries = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
        let mut out: Vec<String> = entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        out.sort();
        out
    };
    let mut known: Vec<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    known.sort();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(named(root.join("fuzz_targets")), known);
    assert_eq!(named(root.join("corpus")), known);
}
