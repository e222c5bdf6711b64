//! The option groups -C -D -O -S -W: `-O opt-level=2,inlining=n`. One row an option; the rows parse, list and refuse.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;

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
    /// -C interruption
    pub interruption: bool,
    /// -C spectre
    pub spectre: bool,
    /// -C explicit-checks
    pub explicit_checks: bool,
    /// -D native-unwind
    pub native_unwind: bool,
    /// -O opt-level
    pub optimize: bool,
    /// -O inlining
    pub inlining: bool,
    /// -O memory-reservation
    pub memory_reservation: Option<u64>,
    /// -O memory-guard-size
    pub memory_guard: Option<u64>,
    /// -S inherit-env
    pub inherit_env: bool,
    /// -S inherit-stdin, inherit-stdout, inherit-stderr
    pub inherit: [bool; 3],
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
}

impl Default for Options {
    fn default() -> Options {
        Options {
            threads: None,
            interruption: true,
            spectre: true,
            explicit_checks: false,
            native_unwind: false,
            optimize: true,
            inlining: true,
            memory_reservation: None,
            memory_guard: None,
            inherit_env: false,
            inherit: [true; 3],
            max_wasm_stack: None,
            max_memory: None,
            max_elements: None,
            max_instances: None,
            max_memories: None,
            max_tables: None,
            trap_on_grow_failure: false,
            timeout: None,
        }
    }
}

/// A value that was parsed, put where it belongs; `None` if it is no such value.
type Set = fn(&mut Options, Option<&str>) -> Option<()>;

/// An option of a group.
struct Row {
    group: char,
    name: &'static str,
    /// What values look like.
    value: &'static str,
    help: &'static str,
    set: Set,
}

const fn row(group: char, name: &'static str, value: &'static str, help: &'static str, set: Set) -> Row {
    Row { group, name, value, help, set }
}

/// Every option there is, by group and name.
const ROWS: &[Row] = &[
    row(
        'C',
        "explicit-checks",
        "y|n",
        "compare addresses with the memory's length even where a fault would do",
        |o, v| flag(&mut o.explicit_checks, v),
    ),
    row('C', "interruption", "y|n", "loops look for an interruption (default y)", |o, v| {
        flag(&mut o.interruption, v)
    }),
    row('C', "parallel-compilation", "y|n", "compile on all processors (default y)", |o, v| {
        o.threads = if switch(v)? { None } else { Some(1) };
        Some(())
    }),
    row('C', "spectre", "y|n", "mask indices where the processor only speculates (default y)", |o, v| {
        flag(&mut o.spectre, v)
    }),
    row('C', "threads", "N", "compile on so many threads (default: one a processor)", |o, v| {
        small(&mut o.threads, v).filter(|()| o.threads != Some(0))
    }),
    row('D', "native-unwind", "y|n", "make unwind tables known to the platform's unwinder", |o, v| {
        flag(&mut o.native_unwind, v)
    }),
    row('O', "inlining", "y|n", "copy small leaf functions into their callers (default y)", |o, v| {
        flag(&mut o.inlining, v)
    }),
    row(
        'O',
        "memory-guard-size",
        "BYTES",
        "address space behind each memory that faults (default 32M)",
        |o, v| large(&mut o.memory_guard, v),
    ),
    row(
        'O',
        "memory-reservation",
        "BYTES",
        "address space for each memory (default 4G; less: checks)",
        |o, v| large(&mut o.memory_reservation, v),
    ),
    row('O', "opt-level", "0|1|2|s", "0: as directly as possible; others: optimize (default 2)", |o, v| {
        o.optimize = match v? {
            "0" => false,
            "1" | "2" | "s" => true,
            _ => return None,
        };
        Some(())
    }),
    row('S', "inherit-env", "y|n", "give the guest all environment variables of this process", |o, v| {
        flag(&mut o.inherit_env, v)
    }),
    row('S', "inherit-stderr", "y|n", "give the guest standard error (default y)", |o, v| {
        flag(&mut o.inherit[2], v)
    }),
    row('S', "inherit-stdin", "y|n", "give the guest standard input (default y)", |o, v| {
        flag(&mut o.inherit[0], v)
    }),
    row('S', "inherit-stdout", "y|n", "give the guest standard output (default y)", |o, v| {
        flag(&mut o.inherit[1], v)
    }),
    row('W', "max-instances", "N", "most instances", |o, v| small(&mut o.max_instances, v)),
    row('W', "max-memories", "N", "most memories", |o, v| small(&mut o.max_memories, v)),
    row('W', "max-memory-size", "BYTES", "most bytes that each memory may have", |o, v| {
        large(&mut o.max_memory, v)
    }),
    row('W', "max-table-elements", "N", "most elements that each table may have", |o, v| {
        large(&mut o.max_elements, v)
    }),
    row('W', "max-tables", "N", "most tables", |o, v| small(&mut o.max_tables, v)),
    row('W', "max-wasm-stack", "BYTES", "stack that wasm may use (default 1M)", |o, v| {
        small(&mut o.max_wasm_stack, v).filter(|()| o.max_wasm_stack != Some(0))
    }),
    row('W', "timeout", "TIME", "stop the guest after this time: 10s, 500ms, 2m", |o, v| {
        o.timeout = Some(duration(v?)?);
        Some(())
    }),
    row('W', "trap-on-grow-failure", "y|n", "growing beyond a limit is a trap instead of -1", |o, v| {
        flag(&mut o.trap_on_grow_failure, v)
    }),
];

fn flag(place: &mut bool, value: Option<&str>) -> Option<()> {
    *place = switch(value)?;
    Some(())
}

fn large(place: &mut Option<u64>, value: Option<&str>) -> Option<()> {
    *place = Some(number(value?)?);
    Some(())
}

fn small(place: &mut Option<usize>, value: Option<&str>) -> Option<()> {
    *place = Some(usize::try_from(number(value?)?).ok()?);
    Some(())
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
    // Other tools write underscores.
    let dashed = name.replace('_', "-");
    let Some(row) = ROWS.iter().find(|row| row.group == group && row.name == dashed) else {
        let known: Vec<_> = ROWS.iter().filter(|row| row.group == group).map(|row| row.name).collect();
        return Err(format!("unknown option '-{group} {name}', expected one of: {}", known.join(", ")));
    };
    (row.set)(options, value).ok_or_else(|| {
        let found = value.map_or("nothing".to_owned(), |value| format!("'{value}'"));
        format!("option '-{group} {name}': expected {}, found {found}", row.value)
    })
}

/// The options of a group, one a line.
pub fn list(group: char) -> String {
    let mut text = String::new();
    for row in ROWS.iter().filter(|row| row.group == group) {
        let left = format!("-{group} {}={}", row.name, row.value);
        let _ = writeln!(text, "  {left:<32} {}", row.help);
    }
    text
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
            assert!(options != Options::default() || switch_off, "-{} {text} changes nothing", row.group);
            assert!(parse(row.group, &format!("{}=maybe", row.name)).is_err(), "-{} {}", row.group, row.name);
            assert!(parse(row.group, row.name).is_ok() == switch_off, "-{} {}", row.group, row.name);
        }
    }

    #[test]
    fn unknown_names_list_the_known() {
        let error = parse('D', "nativ-unwind=y").unwrap_err();
        assert_eq!(error, "unknown option '-D nativ-unwind', expected one of: native-unwind");
        let error = parse('O', "opt_level=9").unwrap_err();
        assert_eq!(error, "option '-O opt_level': expected 0|1|2|s, found '9'");
    }
}
