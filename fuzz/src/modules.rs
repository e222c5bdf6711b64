//! Random modules by wasm-smith, with the proposals that Sphex compiles and no others. They end: each has a counter.

use arbitrary::Unstructured;

use crate::random::Choices;

/// Loops and calls that a module may make in all.
const FUEL: u32 = 20_000;

/// A module from bytes; `None` where the bytes do not suffice for one.
pub fn module(bytes: &[u8]) -> Option<Vec<u8>> {
    make(bytes, false)
}

/// The same with shared memories and atomics, not to be run: who waits for a notification that never comes waits for ever.
#[allow(dead_code, reason = "the test that runs what it makes has this file, too")]
pub fn to_compile(bytes: &[u8]) -> Option<Vec<u8>> {
    make(bytes, true)
}

fn make(bytes: &[u8], threads: bool) -> Option<Vec<u8>> {
    let (head, rest) = bytes.split_at_checked(16)?;
    let config = wasm_smith::Config { threads_enabled: threads, ..config(&mut Choices::new(head)) };
    let mut module = wasm_smith::Module::new(config, &mut Unstructured::new(rest)).ok()?;
    module.ensure_termination(FUEL).ok()?;
    Some(module.to_bytes())
}

/// What may be in a module.
fn config(choices: &mut Choices<'_>) -> wasm_smith::Config {
    wasm_smith::Config {
        // What Sphex compiles.
        multi_value_enabled: true,
        sign_extension_ops_enabled: true,
        saturating_float_to_int_enabled: true,
        bulk_memory_enabled: true,
        reference_types_enabled: !choices.one_in(4),
        tail_call_enabled: choices.one_in(2),
        extended_const_enabled: true,
        max_memories: choices.pick(&[1, 1, 2, 3]),
        max_tables: choices.pick(&[1, 2, 3]),
        // What it does not.
        simd_enabled: false,
        relaxed_simd_enabled: false,
        threads_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        wide_arithmetic_enabled: false,
        compact_imports_enabled: false,
        max_tags: 0,
        // What makes it worth running.
        allow_floats: !choices.one_in(4),
        canonicalize_nans: true,
        disallow_traps: choices.one_in(2),
        export_everything: true,
        allow_start_export: choices.one_in(4),
        min_funcs: 1,
        max_funcs: choices.pick(&[1, 3, 8, 20]),
        min_memories: u32::from(!choices.one_in(4)),
        max_instructions: choices.pick(&[20, 60, 120, 300]),
        max_imports: 6,
        max_globals: 8,
        max_types: 12,
        max_data_segments: 5,
        max_element_segments: 5,
        max_nesting_depth: 12,
        // What keeps it small.
        memory_max_size_required: true,
        table_max_size_required: true,
        max_memory32_bytes: 3 << 16,
        max_table_elements: 40,
        memory_offset_choices: wasm_smith::MemoryOffsetChoices(75, 20, 5),
        ..wasm_smith::Config::default()
    }
}
