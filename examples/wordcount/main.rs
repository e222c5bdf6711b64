//! Counts words: `wordcount [--top N] [FILE...]` reads files, or standard input, and prints the most frequent words.
//!
//! Built for WASI preview 1 with `rustc --target wasm32-wasip1 -C opt-level=s -C panic=abort -C strip=symbols main.rs -o ../wordcount.wasm`.

use std::collections::HashMap;
use std::io::{self, BufWriter, Read, Write};
use std::process::ExitCode;

fn count(text: &str, counts: &mut HashMap<String, u64>) -> u64 {
    let mut words = 0;
    for word in text.split(|c: char| !c.is_alphanumeric() && c != '\'') {
        let word = word.trim_matches('\'');
        if !word.is_empty() {
            *counts.entry(word.to_lowercase()).or_default() += 1;
            words += 1;
        }
    }
    words
}

fn run() -> Result<(), String> {
    let mut top = 10;
    let mut files = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--top" {
            let number = args.next().ok_or("--top needs a number")?;
            top = number.parse().map_err(|e| format!("--top {number}: {e}"))?;
        } else {
            files.push(arg);
        }
    }
    let mut counts = HashMap::new();
    let mut words = 0;
    if files.is_empty() {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(|e| format!("standard input: {e}"))?;
        words += count(&text, &mut counts);
    }
    for file in &files {
        let text = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
        words += count(&text, &mut counts);
    }
    let mut rows: Vec<(&String, &u64)> = counts.iter().collect();
    rows.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let mut out = BufWriter::new(io::stdout());
    let print = |out: &mut dyn Write| -> io::Result<()> {
        writeln!(out, "{words} words, {} distinct", rows.len())?;
        for (word, n) in rows.iter().take(top) {
            writeln!(out, "{n:8} {word}")?;
        }
        out.flush()
    };
    print(&mut out).map_err(|e| format!("standard output: {e}"))
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("wordcount: {message}");
            ExitCode::FAILURE
        }
    }
}
