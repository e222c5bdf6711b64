//! An artifact is written, read back, damaged in many ways, and shown to readelf.

use std::collections::BTreeMap;
use std::process::Command;

use sphex_artifact::module::{Description, Export, ExternKind, Function, Import, ImportKind, Module};
use sphex_artifact::read::{Frame, Host, Mismatch};
use sphex_artifact::sections::{
    AddressRow, ExceptionRow, FrameState, FunctionRow, Handler, InlineNode, Kind, NO_OFFSET, Safepoint,
    SafepointSlot, SectionId, TrapRow,
};
use sphex_artifact::write::{Contents, Name, TextLayout, write};
use sphex_artifact::{Arch, ArtifactError, CpuFeatures, FuncType, Index, Os, Target, Trap, ValType};

const X64: Target = Target { arch: Arch::X64, os: Os::Linux };

fn description() -> Description {
    let function = |funcref| Function { ty: 0, funcref, leaves: false };
    Description {
        modules: vec![Module {
            name: Some("m".into()),
            types: vec![FuncType::new([ValType::I32, ValType::FuncRef], [ValType::V128])],
            imports: vec![Import { module: "env".into(), name: "f".into(), kind: ImportKind::Function(0) }],
            imported: sphex_artifact::module::Imported { functions: 1, ..Default::default() },
            functions: vec![function(None), function(Some(0)), function(None), function(None)],
            exports: vec![Export { name: "run".into(), kind: ExternKind::Function, index: 1 }],
            funcrefs: 1,
            ..Module::default()
        }],
        bodies: vec![(0, 4)],
    }
}

/// A CIE and an FDE for each function, for a text that begins `text_to_frame` bytes before.
fn eh_frame(text_to_frame: u64, functions: &[FunctionRow]) -> Vec<u8> {
    let mut out =
        vec![0x14, 0, 0, 0, 0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x10, 0x0c, 7, 8, 0x90, 1, 0, 0];
    for row in functions {
        let at = out.len() as u64;
        out.extend(28u32.to_le_bytes());
        out.extend((at as u32 + 4).to_le_bytes());
        out.extend(u64::from(row.start).wrapping_sub(text_to_frame + at + 8).to_le_bytes());
        out.extend(u64::from(row.len).to_le_bytes());
        out.extend([0; 8]);
    }
    out.extend([0; 4]);
    out
}

struct Parts {
    description: Description,
    functions: Vec<FunctionRow>,
    traps: Vec<TrapRow>,
    addresses: Vec<AddressRow>,
    inline_nodes: Vec<InlineNode>,
    safepoints: Vec<Safepoint>,
    exceptions: Vec<ExceptionRow>,
    names: Vec<Name>,
    text: Vec<u8>,
    data: Vec<u8>,
}

fn parts() -> Parts {
    let function = |start, len, function| FunctionRow { start, len, module: 0, function };
    let trap = |pc, trap: Trap, frame| TrapRow { pc, code: trap.code(), frame };
    let address = |pc, offset, inline| AddressRow { pc, offset, inline };
    let node = |parent, function, call_offset| InlineNode { parent, module: 0, function, call_offset };
    Parts {
        description: description(),
        functions: vec![function(0, 40, 1), function(48, 16, 2), function(64, 30, 3)],
        traps: vec![
            trap(0, Trap::StackOverflow, FrameState::Stack(0)),
            trap(12, Trap::MemoryOutOfBounds, FrameState::Frame),
            trap(70, Trap::Unreachable, FrameState::Link),
        ],
        addresses: vec![
            address(0, 100, 0),
            address(10, 210, 2),
            address(20, 110, 0),
            address(48, 250, 0),
            address(55, NO_OFFSET, 0),
            address(60, 260, 0),
            address(66, 300, 0),
        ],
        inline_nodes: vec![node(0, 2, 105), node(1, 3, 205)],
        safepoints: vec![
            Safepoint { pc: 15, slots: vec![] },
            Safepoint {
                pc: 30,
                slots: vec![SafepointSlot::new(0, 24).unwrap(), SafepointSlot::new(2, 32).unwrap()],
            },
        ],
        exceptions: vec![ExceptionRow {
            pc: 30,
            handlers: vec![
                Handler { tag: 1, handler: 35, frame_bytes: 64 },
                Handler { tag: u32::MAX, handler: 36, frame_bytes: 64 },
            ],
        }],
        names: vec![
            Name { module: 0, function: 1, name: "run".into() },
            Name { module: 0, function: 3, name: "größe\u{0}".into() },
        ],
        text: vec![0x90; 94],
        data: b"segment".to_vec(),
    }
}

fn settings() -> BTreeMap<String, String> {
    [("opt-level", "2"), ("memory-reservation", "4294967296")].map(|(k, v)| (k.into(), v.into())).into()
}

fn with_contents<R>(parts: &Parts, target: Target, then: impl FnOnce(&mut Contents<'_>) -> R) -> R {
    let frame = eh_frame(TextLayout::new(target, parts.text.len(), 0).eh_frame, &parts.functions);
    let debug = [(".debug_info", &[1, 2, 3][..])];
    then(&mut Contents {
        kind: Kind::Module,
        target,
        features: CpuFeatures::named(Arch::X64, "has_sse41").unwrap(),
        settings: settings(),
        description: &parts.description,
        text: &parts.text,
        eh_frame: &frame,
        rodata: &[1, 2, 3, 4],
        functions: &parts.functions,
        traps: &parts.traps,
        addresses: &parts.addresses,
        inline_nodes: &parts.inline_nodes,
        safepoints: &parts.safepoints,
        exceptions: &parts.exceptions,
        names: &parts.names,
        data: &parts.data,
        bodies: b"\0asm",
        debug: &debug,
    })
}

fn sample() -> Vec<u8> {
    with_contents(&parts(), X64, |contents| write(contents)).unwrap()
}

/// Everything a loader does; `Err` says why not.
fn load(bytes: &[u8]) -> Result<Description, ArtifactError> {
    let index = Index::parse(bytes)?;
    let view = index.view(bytes).unwrap();
    view.verify_bulk()?;
    view.description()
}

/// All lookups, for all pcs: none may panic.
fn look_up_everything(index: &Index, bytes: &[u8]) {
    let Some(view) = index.view(bytes) else { return };
    for pc in (0..120).chain([u32::MAX]) {
        let _ = (view.function_at(pc), view.trap_at(pc), view.address_at(pc), view.safepoint_at(pc));
        assert!(view.frames_at(pc).count() < 10);
        let _ = view.handlers_at(pc).map(Iterator::count);
        let _ = (view.function(0, pc), view.function_name(0, pc), view.inline_node(pc));
    }
}

/// xorshift64*: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

#[test]
fn what_is_written_is_read() {
    let parts = parts();
    let bytes = sample();
    assert_eq!(bytes, sample(), "writing is deterministic");
    assert_eq!(load(&bytes).unwrap(), parts.description);

    let index = Index::parse(&bytes).unwrap();
    let view = index.view(&bytes).unwrap();
    assert_eq!((view.header().kind, view.header().target), (Kind::Module, X64));
    assert_eq!(view.header().settings, settings());
    assert_eq!(view.text().len(), 4096);
    assert_eq!(view.text()[..95], [&parts.text[..], &[0xcc]].concat());
    assert_eq!(view.section(SectionId::Rodata), [1, 2, 3, 4]);
    assert_eq!(&view.section(SectionId::Data)[..8], b"segment\0");
    assert_eq!(view.section(SectionId::Bodies), b"\0asm");
    assert_eq!(index.debug_sections()[0].0, ".debug_info");

    let text = index.section(SectionId::Text).start as u64;
    let layout = TextLayout::new(X64, parts.text.len(), view.section(SectionId::EhFrame).len());
    assert_eq!(index.section(SectionId::EhFrame).start as u64, text + layout.eh_frame);
    assert_eq!(index.section(SectionId::Rodata).start as u64, text + layout.rodata);

    assert_eq!(view.function_count(), 3);
    assert_eq!(view.function(0, 2), Some(parts.functions[1]));
    assert_eq!(view.function(0, 0), None);
    let at = |pc| view.function_at(pc).map(|row| row.function);
    assert_eq!(
        [at(0), at(39), at(40), at(48), at(63), at(64), at(94)].map(|f| f.unwrap_or(0)),
        [1, 1, 0, 2, 2, 3, 0]
    );
    for row in &parts.traps {
        assert_eq!(view.trap_at(row.pc), Some(*row));
        assert_eq!(view.trap_at(row.pc + 1), None);
    }
    assert_eq!(view.address_at(19), Some(parts.addresses[1]));
    assert_eq!(view.safepoint_at(15), Some(&[][..]));
    let slots = SafepointSlot::all(view.safepoint_at(30).unwrap()).map(|slot| (slot.kind(), slot.below()));
    assert_eq!(slots.collect::<Vec<_>>(), [(0, 24), (2, 32)]);
    assert_eq!(view.safepoint_at(31), None);
    assert_eq!(view.handlers_at(30).unwrap().collect::<Vec<_>>(), parts.exceptions[0].handlers);
    assert_eq!(view.function_name(0, 3), Some("größe\0"));
    assert_eq!(view.function_name(0, 2), None);
}

#[test]
fn a_pc_two_inlines_deep_has_three_frames() {
    let bytes = sample();
    let index = Index::parse(&bytes).unwrap();
    let frames = |pc| index.view(&bytes).unwrap().frames_at(pc).collect::<Vec<_>>();
    let frame = |function, offset| Frame { module: 0, function, offset };
    assert_eq!(frames(10), [frame(3, Some(210)), frame(2, Some(205)), frame(1, Some(105))]);
    assert_eq!(frames(20), [frame(1, Some(110))]);
    assert_eq!(frames(50), [frame(2, Some(250))]);
    assert_eq!(frames(56), [frame(2, None)]);
    // Between the function's start and its first row: not the row of the function before.
    assert_eq!(frames(64), [frame(3, None)]);
    assert_eq!(frames(44), []);
}

#[test]
fn another_host_is_refused_with_the_field() {
    let bytes = sample();
    let index = Index::parse(&bytes).unwrap();
    let sse41 = CpuFeatures::named(Arch::X64, "has_sse41").unwrap();
    let settings = settings();
    let host = Host { target: X64, features: sse41, settings: Some(&settings) };
    let check = |host: Host<'_>| index.header().check_compatible(&host).map_err(|error| error.to_string());
    assert_eq!(check(host), Ok(()));
    assert_eq!(check(Host { features: CpuFeatures::all(Arch::X64), settings: None, ..host }), Ok(()));
    assert_eq!(
        check(Host { target: Target { arch: Arch::Aarch64, os: Os::Linux }, ..host }).unwrap_err(),
        "target: expected aarch64-linux, found x86_64-linux"
    );
    assert_eq!(
        check(Host { features: CpuFeatures::named(Arch::X64, "has_avx").unwrap(), ..host }).unwrap_err(),
        "cpu features: expected a subset of [has_avx], found has_sse41"
    );
    let mut other = settings.clone();
    other.insert("opt-level".into(), "0".into());
    assert_eq!(check(Host { settings: Some(&other), ..host }).unwrap_err(), "opt-level: expected 0, found 2");
    other = settings.clone();
    other.remove("opt-level");
    assert_eq!(
        check(Host { settings: Some(&other), ..host }).unwrap_err(),
        "opt-level: expected nothing, found 2"
    );
}

/// Flips bits of a byte of `.sphex.hdr`.
fn with_header_byte(at: usize, bits: u8) -> Vec<u8> {
    let mut bytes = sample();
    let header = Index::parse(&bytes).unwrap().section(SectionId::Header).start;
    bytes[header + at] ^= bits;
    bytes
}

#[test]
fn another_format_is_refused_before_its_hash() {
    let error = load(&with_header_byte(8, 76)).unwrap_err();
    let expected = Mismatch { field: "format".into(), expected: "1".into(), found: "77".into() };
    assert_eq!(error, ArtifactError::Incompatible(expected));
    assert_eq!(load(&with_header_byte(16, 1)).unwrap_err(), ArtifactError::Damaged("metadata"));
}

#[test]
fn every_flip_is_refused() {
    let good = sample();
    let index = Index::parse(&good).unwrap();
    let mut random = Random(1);
    // Each bit of the ELF header and of the metadata; then bits anywhere.
    let all_of = [0..64, index.section(SectionId::Header), index.section(SectionId::Traps)];
    let mut bits: Vec<usize> = all_of.into_iter().flatten().flat_map(|byte| byte * 8..byte * 8 + 8).collect();
    while bits.len() < 12_000 {
        bits.push(random.below(good.len() * 8));
    }
    let mut bytes = good.clone();
    for bit in bits {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let outcome = load(&bytes);
        assert!(outcome.is_err(), "bit {bit} (byte {:#x})", bit / 8);
        // With an index made before the damage (a file changed under the mapping), lookups still do not panic.
        look_up_everything(&index, &bytes);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(load(&bytes).is_ok());
}

#[test]
fn every_truncation_is_refused() {
    let good = sample();
    let mut random = Random(2);
    let lens = (0..2_000).map(|n| n.min(good.len() - 1)).chain((0..6_000).map(|_| random.below(good.len())));
    for len in lens.chain([good.len() - 1]) {
        assert!(load(&good[..len]).is_err(), "{len} bytes");
    }
    assert!(load(&[&good[..], b"x"].concat()).is_err());
}

#[test]
fn damage_behind_right_hashes_never_panics() {
    // The hashes find damage, not attackers: the checks behind them must hold alone. Whatever they let through is
    // harmless to look up and to decode.
    let good = sample();
    let index = Index::parse(&good).unwrap();
    let mut random = Random(3);
    let ids = [
        SectionId::Functions,
        SectionId::Traps,
        SectionId::AddressMap,
        SectionId::Safepoints,
        SectionId::Info,
    ];
    let ids = [&ids[..], &[SectionId::Exceptions, SectionId::Names, SectionId::EhFrame, SectionId::Header]]
        .concat();
    let mut passed = 0;
    for round in 0..6_000 {
        let mut bytes = good.clone();
        let range = if round % 4 == 0 {
            // Section headers and the ELF header.
            let start = good.len() - 64 * 20;
            if round % 8 == 0 { 0..64 } else { start..good.len() }
        } else {
            index.section(ids[random.below(ids.len())])
        };
        for _ in 0..1 + random.below(3) {
            let at = range.start + random.below(range.len());
            bytes[at] = [0, 1, 0xff, 0x7f, 0x80, random.next() as u8][random.below(6)];
        }
        sphex_artifact::write::rehash(&mut bytes);
        if let Ok(index) = Index::parse(&bytes) {
            passed += 1;
            look_up_everything(&index, &bytes);
            let _ = index.view(&bytes).unwrap().description();
        }
    }
    assert!(passed > 500, "only {passed} came past the hash: is it right?");
}

#[test]
fn random_bytes_are_refused() {
    let mut random = Random(4);
    for _ in 0..3_000 {
        let mut bytes: Vec<u8> = (0..random.below(400)).map(|_| random.next() as u8).collect();
        if random.below(2) == 0 {
            let magic = b"\x7fELF\x02\x01\x01";
            let len = magic.len().min(bytes.len());
            bytes[..len].copy_from_slice(&magic[..len]);
        }
        assert!(load(&bytes).is_err());
    }
}

#[test]
fn what_cannot_be_read_is_not_written() {
    let refused = |change: fn(&mut Parts)| {
        let mut parts = parts();
        change(&mut parts);
        with_contents(&parts, X64, |contents| write(contents)).unwrap_err().to_string()
    };
    assert!(refused(|p| p.traps.swap(0, 1)).contains(".sphex.traps: not in ascending order"));
    assert!(refused(|p| p.traps[2].pc = 5000).contains(".sphex.traps: a pc beyond .text"));
    assert!(refused(|p| p.traps[2].code = 0).contains(".sphex.traps: a trap without a code"));
    assert!(refused(|p| p.traps[2].frame = FrameState::Stack(3)).contains("frame state"));
    assert!(refused(|p| p.functions[0].len = 49).contains(".sphex.funcs: not in ascending order"));
    assert!(refused(|p| p.functions[2].len = 5000).contains(".sphex.funcs: a function beyond .text"));
    assert!(refused(|p| p.addresses[1].inline = 3).contains("an unknown inline node"));
    assert!(refused(|p| p.inline_nodes[1].parent = 2).contains("before its parent"));
    assert!(refused(|p| p.exceptions[0].handlers[0].handler = 5000).contains("a handler beyond .text"));
    assert!(refused(|p| p.names.swap(0, 1)).contains(".sphex.names: not in ascending order"));
}

#[test]
fn parts_that_do_not_belong_are_refused() {
    let refused = |change: fn(&mut Contents<'_>)| {
        with_contents(&parts(), X64, |contents| {
            change(contents);
            write(contents).unwrap_err().to_string()
        })
    };
    assert!(refused(|c| c.eh_frame = &[0, 0, 0]).contains(".eh_frame: not terminated"));
    assert!(refused(|c| c.eh_frame = &[9, 0, 0, 0, 1]).contains(".eh_frame: a record beyond its end"));
    assert!(refused(|c| c.eh_frame = &[0; 8]).contains(".eh_frame: records after its terminator"));
    assert!(refused(|c| drop(c.settings.insert("a=b".into(), "c".into()))).contains("settings"));
    let other: &'static [(&str, &[u8])] = &[(".evil", &[0])];
    let error = with_contents(&parts(), X64, |c| {
        c.debug = other;
        write(c).unwrap_err().to_string()
    });
    assert!(error.contains("debug sections"), "{error}");
}

/// Renames a section in place: `from` and `to` have the same length.
fn renamed(from: &str, to: &str) -> Vec<u8> {
    let mut bytes = sample();
    let at = bytes.windows(from.len()).rposition(|window| window == from.as_bytes()).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    sphex_artifact::write::rehash(&mut bytes);
    bytes
}

#[test]
fn unknown_sections_and_relocations_are_refused() {
    let error = |bytes: &[u8]| load(bytes).unwrap_err().to_string();
    assert_eq!(
        error(&renamed(".sphex.exn", ".sphex.new")),
        "malformed artifact: .sphex.new: unknown section"
    );
    assert_eq!(
        error(&renamed(".sphex.hdr", ".debug_abc")),
        "malformed artifact: .debug_abc: unknown section"
    );
    assert_eq!(
        error(&renamed(".sphex.traps", ".sphex.names")),
        "malformed artifact: .sphex.names: more than one such section"
    );
    // The section header of `.debug_info` (no address) becomes one of relocations.
    let mut bytes = sample();
    let table = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
    let index = Index::parse(&bytes).unwrap();
    let offset = index.debug_sections()[0].1.start as u64;
    let entry =
        (0..).map(|i| table + i * 64).find(|at| bytes[at + 24..at + 32] == offset.to_le_bytes()).unwrap();
    bytes[entry + 4] = 4;
    sphex_artifact::write::rehash(&mut bytes);
    assert_eq!(error(&bytes), "malformed artifact: .debug_info: relocations are not allowed");
}

#[test]
fn an_empty_artifact_and_one_for_large_pages_are_whole() {
    let empty = Contents {
        kind: Kind::Functions,
        target: X64,
        features: CpuFeatures::NONE,
        settings: BTreeMap::new(),
        description: &Description::default(),
        text: &[],
        eh_frame: &[],
        rodata: &[],
        functions: &[],
        traps: &[],
        addresses: &Vec::new(),
        inline_nodes: &[],
        safepoints: &[],
        exceptions: &[],
        names: &[],
        data: &[],
        bodies: &[],
        debug: &[],
    };
    let bytes = write(&empty).unwrap();
    assert_eq!(load(&bytes), Ok(Description::default()));
    look_up_everything(&Index::parse(&bytes).unwrap(), &bytes);

    let arm = Target { arch: Arch::Aarch64, os: Os::Linux };
    let bytes = with_contents(&parts(), arm, |contents| write(contents)).unwrap();
    let index = Index::parse(&bytes).unwrap();
    assert_eq!(index.section(SectionId::Text).start % 65536, 0);
    assert_eq!(index.section(SectionId::EhFrame).start, index.section(SectionId::Text).end);
    assert!(load(&bytes).is_ok());
}

fn readelf(args: &[&str]) -> Option<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), sample()).unwrap();
    let Ok(output) = Command::new("readelf").args(args).arg(file.path()).output() else {
        assert!(std::env::var("SPHEX_REQUIRE").is_err(), "readelf is missing");
        println!("skipped: readelf test needs readelf");
        return None;
    };
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn readelf_reads_the_sections() {
    let Some(text) = readelf(&["-hWS"]) else { return };
    assert!(text.contains("Advanced Micro Devices X86-64"), "{text}");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |name: &str| {
        let fields = lines.iter().find_map(|line| {
            let at = line.iter().position(|field| *field == name)?;
            Some(&line[at..])
        });
        fields.unwrap_or_else(|| panic!("no {name} in {text}")).to_vec()
    };
    let hex = |field: &str| u64::from_str_radix(field, 16).unwrap();
    let (text_row, frame) = (row(".text"), row(".eh_frame"));
    assert_eq!(text_row[6], "AX");
    assert_eq!(hex(frame[2]), hex(text_row[2]) + hex(text_row[4]));
    assert_eq!(hex(frame[3]), hex(text_row[3]) + hex(text_row[4]));
    assert_eq!(row(".sphex.info")[1], "PROGBITS");
}

#[test]
fn readelf_reads_frames_and_symbols() {
    let Some(text) = readelf(&["-W", "--debug-dump=frames"]) else { return };
    assert_eq!((text.matches(" CIE").count(), text.matches(" FDE ").count()), (1, 3), "{text}");
    assert!(text.contains("pc=0000000000001000..0000000000001028"), "{text}");
    assert!(text.contains("pc=0000000000001030..0000000000001040"), "{text}");
    assert!(text.contains("ZERO terminator"), "{text}");
    let Some(text) = readelf(&["-Ws"]) else { return };
    for (symbol, place) in
        [("run", "0000000000001000    40"), ("wasm[0]::function[2]", "0000000000001030    16")]
    {
        let line =
            text.lines().find(|line| line.ends_with(symbol)).unwrap_or_else(|| panic!("{symbol} in {text}"));
        assert!(line.contains(place) && line.contains("FUNC"), "{line}");
    }
}
