//! The option groups -C -D -O -S -W: `-O opt-level=2,inlining=n`. One row an option; the rows parse, list and refuse.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use sphex_artifact::Target;
use sphex_artifact::target::X64_FEATURES;

use super::values::{duration, number, switch};
use crate::exit::{Failure, Result};

/// The groups as they stand on the command line.
#[derive(Args, Clone, Debug, Default)]
pub struct Groups {
    /// The compiler: threads, checks, CPU features; `-C help` lists the names
    #[arg(short = 'C', value_name = "NAME[=V],..")]
    compiler: Vec<String>,
    /// Debugging and profiling; `-D help` lists the names
    #[arg(short = 'D', value_name = "NAME[=V],..")]
    debug: Vec<String>,
    /// Optimization and memory; `-O help` lists the names
    #[arg(short = 'O', value_name = "NAME[=V],..")]
    optimize: Vec<String>,
    /// The system interface; `-S help` lists the names
    #[arg(short = 'S', value_name = "NAME[=V],..")]
    system: Vec<String>,
    /// WebAssembly: limits and proposals; `-W help` lists the names
    #[arg(short = 'W', value_name = "NAME[=V],..")]
    wasm: Vec<String>,
}

/// What the groups say, with defaults for the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// -C threads
    pub threads: Option<usize>,
    /// -C cache
    pub cache: Option<bool>,
    /// -C lazy
    pub lazy: Option<bool>,
    /// -C interruption
    pub interruption: bool,
    /// -C spectre
    pub spectre: bool,
    /// -C explicit-checks
    pub explicit_checks: bool,
    /// --target
    pub target: Option<Target>,
    /// --profile
    pub profiler: Option<sphex::Profiler>,
    /// Further settings of the compiler: CPU features, proposals
    pub settings: Vec<(String, Option<String>)>,
    /// -D debug-info
    pub debug_info: bool,
    /// -D native-unwind
    pub native_unwind: bool,
    /// -D native-debug
    pub native_debug: bool,
    /// -O opt-level
    pub optimize: bool,
    /// -O inlining
    pub inlining: bool,
    /// -O memory-reservation
    pub memory_reservation: Option<u64>,
    /// -O memory-guard-size
    pub memory_guard: Option<u64>,
    /// -O pooling-allocator
    pub pooling: bool,
    /// -S inherit-env
    pub inherit_env: bool,
    /// -S inherit-stdin, inherit-stdout, inherit-stderr
    pub inherit: [bool; 3],
    /// -S threads
    pub wasi_threads: bool,
    /// -S max-threads
    pub max_threads: Option<usize>,
    /// -W fuel
    pub fuel: Option<u64>,
    /// -W max-wasm-stack
    pub max_wasm_stack: Option<usize>,
    /// -W max-memory-size
    pub max_memory: Option<u64>,
    /// -W max-table-elements
    pub max_elements: Option<u64>,
    /// -W max-instances
    pub max_instances: Option<usize>,
    /// -W max-memories
    pub max_memories: Option<usize>,
    /// -W max-tables
    pub max_tables: Option<usize>,
    /// -W trap-on-grow-failure
    pub trap_on_grow_failure: bool,
    /// -W timeout
    pub timeout: Option<Duration>,
    /// -W max-hostcall-size
    pub max_hostcall: Option<usize>,
    /// -W max-descriptors
    pub max_descriptors: Option<usize>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            threads: None,
            cache: None,
            lazy: None,
            interruption: true,
            spectre: true,
            explicit_checks: false,
            target: None,
            profiler: None,
            settings: Vec::new(),
            debug_info: true,
            native_unwind: false,
            native_debug: false,
            optimize: true,
            inlining: true,
            memory_reservation: None,
            memory_guard: None,
            pooling: false,
            inherit_env: false,
            inherit: [true; 3],
            wasi_threads: false,
            max_threads: None,
            fuel: None,
            max_wasm_stack: None,
            max_memory: None,
            max_elements: None,
            max_instances: None,
            max_memories: None,
            max_tables: None,
            trap_on_grow_failure: false,
            timeout: None,
            max_hostcall: None,
            max_descriptors: None,
        }
    }
}

/// An option of a group.
struct Row {
    group: char,
    name: &'static str,
    /// What values look like.
    value: &'static str,
    help: &'static str,
    set: Set,
}

use Set::{Flag, Large, Other, Small};

/// How a value is parsed, and where it goes.
enum Set {
    /// A switch.
    Flag(fn(&mut Options) -> &mut bool),
    /// A number.
    Large(fn(&mut Options) -> &mut Option<u64>),
    /// A number that fits this machine.
    Small(fn(&mut Options) -> &mut Option<usize>),
    /// Anything else; `None` if it is no such value.
    Other(fn(&mut Options, Option<&str>) -> Option<()>),
}

impl Row {
    /// What its value has to be.
    fn expected(&self) -> &'static str {
        match self.value {
            "TIME" => "TIME as 10s, 500ms or 2m",
            "BYTES" => "BYTES as 65536, 64k or 10M",
            other => other,
        }
    }

    /// Takes the option's value; `None` if it is no such value.
    fn take(&self, options: &mut Options, value: Option<&str>) -> Option<()> {
        match self.set {
            Set::Flag(place) => *place(options) = switch(value)?,
            Set::Large(place) => *place(options) = Some(number(value?)?),
            Set::Small(place) => *place(options) = Some(whole(value)?),
            Set::Other(set) => set(options, value)?,
        }
        Some(())
    }
}

/// A number that fits this machine.
fn whole(value: Option<&str>) -> Option<usize> {
    usize::try_from(number(value?)?).ok()
}

fn put<T>(place: &mut T, value: Option<T>) -> Option<()> {
    *place = value?;
    Some(())
}

macro_rules! rows {
    ($($group:literal $name:literal $value:literal $help:literal $set:expr;)+) => {
        /// Every option there is, by group and name.
        const ROWS: &[Row] = &[
            $(Row { group: $group, name: $name, value: $value, help: $help, set: $set }),+
        ];
    };
}

rows! {
    'C' "cache" "y|n" "keep what was compiled for the next run (default y; SPHEX_CACHE=n: n)"
        Other(|o, v| put(&mut o.cache, switch(v).map(Some)));
    'C' "explicit-checks" "y|n" "compare addresses with the memory's length even where a fault would do"
        Flag(|o| &mut o.explicit_checks);
    'C' "interruption" "y|n" "loops look for an interruption (default y)" Flag(|o| &mut o.interruption);
    'C' "lazy" "y|n" "compile a function when it is first called (default: y where the cache does not keep the result)"
        Other(|o, v| put(&mut o.lazy, switch(v).map(Some)));
    'C' "nan-canonicalization" "y|n" "make every NaN that arithmetic gives the canonical one" Other(|o, v| {
            let value = if switch(v)? { "true" } else { "false" };
            o.settings.push(("enable_nan_canonicalization".to_owned(), Some(value.to_owned())));
            Some(())
        });
    'C' "parallel-compilation" "y|n" "compile on all processors (default y)"
        Other(|o, v| put(&mut o.threads, switch(v).map(|on| (!on).then_some(1))));
    'C' "spectre" "y|n" "mask indices where the processor only speculates (default y)" Flag(|o| &mut o.spectre);
    'C' "threads" "N" "compile on so many threads (default: one a processor)"
        Other(|o, v| put(&mut o.threads, whole(v).filter(|n| *n > 0).map(Some)));
    'D' "debug-info" "y|n" "keep the module's debug information for backtraces (default y)"
        Flag(|o| &mut o.debug_info);
    'D' "native-debug" "y|n" "make functions and unwind tables known to gdb" Flag(|o| &mut o.native_debug);
    'D' "native-unwind" "y|n" "make unwind tables known to the platform's unwinder" Flag(|o| &mut o.native_unwind);
    'O' "inlining" "y|n" "copy small leaf functions into their callers (default y)" Flag(|o| &mut o.inlining);
    'O' "memory-guard-size" "BYTES" "address space behind each memory that faults (default 32M)"
        Large(|o| &mut o.memory_guard);
    'O' "memory-reservation" "BYTES" "address space for each memory (default 4G; less: checks)"
        Large(|o| &mut o.memory_reservation);
    'O' "opt-level" "0|1|2|s" "0: as directly as possible; others: optimize (default 2)"
        Other(|o, v| put(&mut o.optimize, match v? {
            "0" => Some(false),
            "1" | "2" | "s" => Some(true),
            _ => None,
        }));
    'O' "pooling-allocator" "y|n" "take instances and memories out of a pool of slots" Flag(|o| &mut o.pooling);
    'S' "inherit-env" "y|n" "give the guest all environment variables of this process" Flag(|o| &mut o.inherit_env);
    'S' "inherit-stderr" "y|n" "give the guest standard error (default y)" Flag(|o| &mut o.inherit[2]);
    'S' "inherit-stdin" "y|n" "give the guest standard input (default y)" Flag(|o| &mut o.inherit[0]);
    'S' "inherit-stdout" "y|n" "give the guest standard output (default y)" Flag(|o| &mut o.inherit[1]);
    'S' "max-threads" "N" "most threads that the guest may have beside its first (default 1024)"
        Small(|o| &mut o.max_threads);
    'S' "threads" "y|n" "give the guest threads: wasi-threads" Flag(|o| &mut o.wasi_threads);
    'W' "fuel" "N" "trap after so many entries of functions and turns of loops"
        Other(|o, v| put(&mut o.fuel, number(v?).filter(|n| *n <= i64::MAX as u64).map(Some)));
    'W' "max-descriptors" "N" "most descriptors that the guest may have open (default 1M)"
        Small(|o| &mut o.max_descriptors);
    'W' "max-hostcall-size" "BYTES" "most bytes that the host moves in one call of the guest's (default 128M)"
        Small(|o| &mut o.max_hostcall);
    'W' "max-instances" "N" "most instances" Small(|o| &mut o.max_instances);
    'W' "max-memories" "N" "most memories" Small(|o| &mut o.max_memories);
    'W' "max-memory-size" "BYTES" "most bytes that each memory may have" Large(|o| &mut o.max_memory);
    'W' "max-table-elements" "N" "most elements that each table may have" Large(|o| &mut o.max_elements);
    'W' "max-tables" "N" "most tables" Small(|o| &mut o.max_tables);
    'W' "max-wasm-stack" "BYTES" "stack that wasm may use (default 1M)"
        Other(|o, v| put(&mut o.max_wasm_stack, whole(v).filter(|n| *n > 0).map(Some)));
    'W' "timeout" "TIME" "stop the guest after this time: 10s, 500ms, 2m"
        Other(|o, v| put(&mut o.timeout, duration(v?).map(Some)));
    'W' "trap-on-grow-failure" "y|n" "growing beyond a limit is a trap instead of -1"
        Flag(|o| &mut o.trap_on_grow_failure);
}

/// Proposals that -W switches, by the names that they have in their repositories.
pub const PROPOSALS: &[&str] = &[
    "bulk-memory",
    "custom-descriptors",
    "custom-page-sizes",
    "exceptions",
    "extended-const",
    "function-references",
    "gc",
    "memory64",
    "multi-memory",
    "multi-value",
    "mutable-global",
    "reference-types",
    "relaxed-simd",
    "saturating-float-to-int",
    "shared-everything-threads",
    "sign-extension",
    "simd",
    "stack-switching",
    "tail-call",
    "threads",
    "wide-arithmetic",
];

impl Options {
    /// Lets the validator accept a proposal, or not; `None` if there is none of that name.
    pub fn set_proposal(&mut self, name: &str, on: bool) -> Option<()> {
        let dashed = name.replace('_', "-");
        let known = PROPOSALS.iter().find(|known| **known == dashed)?;
        self.settings.push((format!("wasm-{known}"), Some(on.to_string())));
        Some(())
    }
}

impl Groups {
    /// Parses what stands in the groups. `-X help` prints the list and ends the process's work.
    pub fn parse(&self) -> Result<Options> {
        let groups = [
            ('C', &self.compiler),
            ('D', &self.debug),
            ('O', &self.optimize),
            ('S', &self.system),
            ('W', &self.wasm),
        ];
        let mut options = Options::default();
        for (group, texts) in groups {
            for text in texts.iter().flat_map(|text| text.split(',')) {
                if text == "help" {
                    crate::exit::print(&list(group))?;
                    return Err(Failure::Code(0));
                }
                set(&mut options, group, text).map_err(Failure::Usage)?;
            }
        }
        Ok(options)
    }
}

fn set(options: &mut Options, group: char, text: &str) -> std::result::Result<(), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let wrong = |expected: &str| {
        let found = value.map_or("nothing".to_owned(), |value| format!("'{value}'"));
        format!("option '-{group} {name}': expected {expected}, found {found}")
    };
    // Other tools write underscores.
    let dashed = name.replace('_', "-");
    if let Some(row) = ROWS.iter().find(|row| row.group == group && row.name == dashed) {
        return row.take(options, value).ok_or_else(|| wrong(row.expected()));
    }
    if !switches(group).iter().any(|known| known.replace('_', "-") == dashed) {
        let hint = match elsewhere(&dashed) {
            Some(other) if other != group => format!("; -{other} has an option of that name"),
            _ => crate::advice::near::suggestion(&dashed, names(group)),
        };
        let known = names(group).join(", ");
        return Err(format!("unknown option '-{group} {name}', expected one of: {known}{hint}"));
    }
    let on = switch(value).ok_or_else(|| wrong("y|n"))?;
    match group {
        'W' => options.set_proposal(&dashed, on).ok_or_else(|| wrong("y|n")),
        _ => {
            options.settings.push((dashed.replace('-', "_"), Some(on.to_string())));
            Ok(())
        }
    }
}

/// The group that has an option of this name.
fn elsewhere(name: &str) -> Option<char> {
    let dashed = |known: &&str| known.replace('_', "-") == name;
    ['C', 'D', 'O', 'S', 'W'].into_iter().find(|group| names(*group).iter().any(dashed))
}

/// Names of a group that are only switches, beside the rows.
fn switches(group: char) -> &'static [&'static str] {
    match group {
        'C' => X64_FEATURES,
        'W' => PROPOSALS,
        _ => &[],
    }
}

/// All names of a group.
fn names(group: char) -> Vec<&'static str> {
    let rows = ROWS.iter().filter(|row| row.group == group).map(|row| row.name);
    rows.chain(switches(group).iter().copied()).collect()
}

/// The options of a group, one a line: name, values, what it is, default.
pub fn list(group: char) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str, help: &str, default: String| {
        let left = format!("-{group} {name}={value}");
        let _ = writeln!(text, "  {left:<32} {help}{default}");
    };
    for row in ROWS.iter().filter(|row| row.group == group) {
        let default = match (row.help.contains("default"), row.value) {
            (true, _) => String::new(),
            (false, "y|n") => " (default n)".to_owned(),
            (false, _) => " (default: none)".to_owned(),
        };
        line(row.name, row.value, row.help, default);
    }
    for name in switches(group) {
        match group {
            'C' => {
                line(name, "y|n", "use this CPU feature", " (default: as here; with --target n)".to_owned())
            }
            _ => line(name, "y|n", "accept this proposal", proposal_default(name)),
        }
    }
    text
}

/// Does the validator accept a proposal by itself?
#[cfg(feature = "compiler")]
fn proposal_default(name: &str) -> String {
    let mut settings = sphex_compile::Settings::default();
    let before = settings.features;
    let known = settings.set(&format!("wasm-{name}"), Some("true")).is_ok();
    format!(" (default {})", if known && settings.features == before { "y" } else { "n" })
}

/// Without a compiler there is no validator.
#[cfg(not(feature = "compiler"))]
fn proposal_default(_: &str) -> String {
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(group: char, text: &str) -> std::result::Result<Options, String> {
        let mut options = Options::default();
        set(&mut options, group, text)?;
        Ok(options)
    }

    #[test]
    fn rows_are_sorted_and_unique() {
        let keys: Vec<_> = ROWS.iter().map(|row| (row.group, row.name)).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
    }

    #[test]
    fn every_row_takes_its_kind_of_value_and_no_other() {
        for row in ROWS {
            let good = match row.value {
                "y|n" => "n",
                "BYTES" => "0x20000",
                "N" => "7",
                "TIME" => "500ms",
                "0|1|2|s" => "0",
                other => panic!("a value of no known kind: {other}"),
            };
            let text = format!("{}={good}", row.name);
            let options = parse(row.group, &text).expect(&text);
            let switch_off = row.value == "y|n";
            // A switch that is off at first is turned on to see it.
            let on = parse(row.group, row.name).unwrap_or_default();
            let changes = options != Options::default() || switch_off && on != Options::default();
            assert!(changes, "-{} {text} changes nothing", row.group);
            assert!(parse(row.group, &format!("{}=maybe", row.name)).is_err(), "-{} {}", row.group, row.name);
            assert!(parse(row.group, row.name).is_ok() == switch_off, "-{} {}", row.group, row.name);
        }
    }

    /// What is listed is accepted, and what is accepted is listed, once, with its default.
    #[test]
    fn the_lists_are_whole() {
        for group in ['C', 'D', 'O', 'S', 'W'] {
            let text = list(group);
            let mut listed = Vec::new();
            for line in text.lines() {
                let rest = line.trim_start().strip_prefix(&format!("-{group} ")).expect(line);
                let (left, help) = rest.split_once(' ').expect(line);
                let (name, value) = left.split_once('=').expect(line);
                let value = value.split('|').next().expect(line);
                let value = match value {
                    "BYTES" => "0x20000",
                    "N" => "7",
                    "TIME" => "1s",
                    literal => literal,
                };
                let options = parse(group, &format!("{name}={value}")).expect(line);
                assert!(help.contains("default"), "{line}");
                #[cfg(feature = "compiler")]
                assert!(crate::engine::engine(&options).is_ok(), "{line}");
                listed.push(name.to_owned());
            }
            assert_eq!(listed, names(group), "-{group}");
        }
        #[cfg(feature = "compiler")]
        assert!(list('W').contains("-W tail-call=y|n") && proposal_default("tail-call") == " (default y)");
    }

    /// The defaults that the texts of switches tell are those of the options.
    #[test]
    fn the_defaults_are_true() {
        // Those of two depend on more than their row.
        let depends = ["cache", "lazy"];
        for row in ROWS.iter().filter(|row| row.value == "y|n" && !depends.contains(&row.name)) {
            let on = row.help.contains("default y");
            let text = format!("{}={}", row.name, if on { "y" } else { "n" });
            let mut options = parse(row.group, &text).expect(&text);
            // What is handed on by name has no place of its own to compare.
            options.settings.clear();
            assert_eq!(options, Options::default(), "-{} {text}", row.group);
        }
    }

    #[test]
    fn features_and_proposals_are_switches() {
        let settings = |group, text| parse(group, text).map(|options| options.settings);
        let pair = |name: &str, value: &str| Ok(vec![(name.to_owned(), Some(value.to_owned()))]);
        assert_eq!(settings('C', "has_avx2=n"), pair("has_avx2", "false"));
        assert_eq!(settings('C', "has-bmi1"), pair("has_bmi1", "true"));
        assert_eq!(settings('W', "tail_call=n"), pair("wasm-tail-call", "false"));
        assert!(settings('W', "has_avx2").is_err() && settings('C', "has_avx2=2").is_err());
    }

    #[test]
    fn unknown_names_list_the_known() {
        let error = parse('D', "nativ-unwind=y").unwrap_err();
        assert_eq!(
            error,
            "unknown option '-D nativ-unwind', expected one of: debug-info, native-debug, native-unwind; did you mean `native-unwind`?"
        );
        let error = parse('O', "opt_level=9").unwrap_err();
        assert_eq!(error, "option '-O opt_level': expected 0|1|2|s, found '9'");
    }
}
