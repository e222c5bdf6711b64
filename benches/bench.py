#!/usr/bin/env python3
"""Sphex beside its peers: run time, compile time, artifact size, peak memory, start, embedding, input and output, counted
instructions. Prints Markdown: every figure of README.md beside this file.

usage: bench.py [--rounds N] [--only a,b] [--engines sphex,wasmtime,...] [--sphex PATH] [--what SECTIONS]

Sections: run, compile, large, threads, start, costs, counts, embed, io; all of them unless told.
V8 writes the CPU seconds of the program alone (BENCH_TIMEFILE of node-wasi.mjs); the others are whole processes.
Programs are those of ../shared/bench/open (BENCH_OPEN overrides); large modules those that ci/toolchains.sh fetches. Every
figure is a median of rounds in which the engines took turns; ratios are of medians within this one run. Peers are found on
PATH (setup.sh installs them).
"""
import argparse, os, shlex, shutil, subprocess, sys, tempfile, time

from large import FOLDER, large, two_threads
from measuring import HERE, ROOT, cpu, interleave, measure, middle, ratios, table
from starts import costs, start

# name: (compile command or None, run command); {wasm} the module, {out} the artifact, {args} the program's arguments
ENGINES = {
    "sphex": ("{sphex} compile -C threads=1 {wasm} -o {out}", "{sphex} run --allow-precompiled --dir . {out} {args}"),
    "wasmtime": ("wasmtime compile -C parallel-compilation=n {wasm} -o {out}",
                 "wasmtime run --allow-precompiled --dir . {out} {args}"),
    "winch": ("wasmtime compile -C parallel-compilation=n -C compiler=winch {wasm} -o {out}",
              "wasmtime run -C compiler=winch --allow-precompiled --dir . {out} {args}"),
    "wasmi": (None, "wasmi --dir . {wasm} {args}"),
    "v8": (None, "node --no-warnings --no-liftoff --no-wasm-lazy-compilation --no-wasm-dynamic-tiering {open}/../node-wasi.mjs "
                 "{wasm} {args}"),
    "native": (None, "{native} {args}"),
}
SIMD = {"simdk"}
SECTIONS = ["run", "compile", "large", "threads", "start", "costs", "counts", "embed", "io"]


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=9)
    p.add_argument("--only", default="")
    p.add_argument("--engines", default="sphex,wasmtime,winch,v8,native")
    p.add_argument("--sphex", default=os.path.join(ROOT, "target/release/sphex"))
    p.add_argument("--what", default=",".join(SECTIONS))
    p.add_argument("--base", default="wasmtime")
    options = p.parse_args()
    options.sphex = os.path.abspath(options.sphex)
    options.what = options.what.split(",")
    unknown = set(options.what) - set(SECTIONS)
    if unknown:
        p.error(f"no section is named {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    if not os.path.exists(options.sphex):
        p.error(f"{options.sphex} is not there: cargo build --release -p sphex-cli, or --sphex PATH")
    return options


def found(options):
    """The engines asked for that this machine has."""
    engines = [e for e in options.engines.split(",") if e in ENGINES]
    for e in list(engines):
        tool = shlex.split(ENGINES[e][1])[0]
        if not tool.startswith("{") and not shutil.which(tool):
            print(f"{e}: {tool} is not on PATH, left out", file=sys.stderr)
            engines.remove(e)
    return engines


def programs(options):
    root = os.environ.get("BENCH_OPEN", os.path.join(ROOT, "../shared/bench/open"))
    only = set(filter(None, options.only.split(",")))
    for name in sorted(os.listdir(root)):
        if name not in SIMD and (not only or name in only):
            yield name, os.path.join(os.path.abspath(root), name)


def command(template, options, name, folder, out):
    args = open(os.path.join(folder, "run.args")).read().strip()
    return shlex.split(template.format(sphex=options.sphex, wasm=f"{folder}/{name}.wasm", out=out,
                                       native=f"{folder}/{name}.native", args=args, open=os.path.dirname(folder)))


class Programs:
    """The programs of the set, compiled once by each engine that compiles ahead, and run."""

    def __init__(self, options, engines, folders, scratch):
        self.options, self.engines, self.folders, self.scratch = options, engines, folders, scratch
        self.compilers = [e for e in engines if ENGINES[e][0]]
        self.peak = {}
        rounds = options.rounds if "compile" in options.what else 1
        self.built = interleave(rounds, self.compilers, list(folders), self.build)

    def artifact(self, e, n):
        return os.path.join(self.scratch, f"{e}-{n}.bin")

    def build(self, e, n):
        line = command(ENGINES[e][0], self.options, n, self.folders[n], self.artifact(e, n))
        code, _, _, used, self.peak[e, n] = measure(line, self.folders[n])
        if code:
            print(f"{e}: {n} does not compile (exit {code})", file=sys.stderr)
        return None if code else used

    def compile(self):
        names = list(self.folders)
        table("Compile, one thread: CPU seconds (ratio)", ["program"] + self.compilers,
              ratios(self.options.base, self.compilers, names, self.built))
        rows, used = [], middle(self.built)
        for n in names:
            size = os.path.getsize(f"{self.folders[n]}/{n}.wasm")
            row = [n]
            for e in self.compilers:
                row.append("-" if (e, n) not in used else f"{size / 1e6 / used[e, n]:.2f} MB/s, "
                           f"{os.path.getsize(self.artifact(e, n)) / size:.2f}x, {self.peak[e, n] / 1024:.0f} MiB")
            rows.append(row)
        table("Compile: speed, artifact bytes over wasm bytes, peak memory", ["program"] + self.compilers, rows)

    def run(self):
        wrong = {}

        def act(e, n):
            if ENGINES[e][0] and (e, n) not in self.built:
                return None
            folder = self.folders[n]
            alone = os.path.join(self.scratch, "seconds") if e == "v8" else None
            line = command(ENGINES[e][1], self.options, n, folder, self.artifact(e, n))
            code, out, _, used, _ = measure(line, folder, alone)
            if alone and not code:
                used = float(open(alone).read().split()[1])
            if code or out != open(f"{folder}/expected.stdout", "rb").read():
                wrong[e, n] = f"exit {code}" if code else "its output is not what is expected of the wasm build"
                return None
            return used

        values = interleave(self.options.rounds, self.engines, list(self.folders), act)
        table("Run, from precompiled code: CPU seconds (ratio)", ["program"] + self.engines,
              ratios(self.options.base, self.engines, list(self.folders), values))
        for (e, n), why in sorted(wrong.items()):
            print(f"\nnot counted: {e} {n}: {why}")


def linked_in(title, program, rounds):
    """A program of this workspace, which links the peers in and prints a table of its own."""
    run = ["cargo", "run", "--quiet", "--release", "--manifest-path", os.path.join(HERE, "Cargo.toml"), "--bin", program]
    print(f"\n### {title}\n", flush=True)
    subprocess.run(run + ["--", str(rounds)], check=True)


def main():
    options = parse()
    engines = found(options)
    folders = dict(programs(options))
    scratch = tempfile.mkdtemp(prefix="sphex-bench-")
    what, rounds = set(options.what), options.rounds
    print(f"rounds: {rounds}; cpu: {cpu()}; date: {time.strftime('%Y-%m-%d %H:%M')}; base: {options.base}", flush=True)
    try:
        if {"run", "compile"} & what:
            set_ = Programs(options, engines, folders, scratch)
            for section in ("compile", "run"):
                if section in what:
                    getattr(set_, section)()
        if "large" in what and "wasmtime" in engines:
            large(options.sphex, min(rounds, 3), scratch)
        if "threads" in what:
            files = {n: f"{folders[n]}/{n}.wasm" for n in ("sqlite", "zstd") if n in folders}
            if os.path.exists(f"{FOLDER}/cc1.wasm"):
                files["cc1"] = f"{FOLDER}/cc1.wasm"
            two_threads(options.sphex, min(rounds, 7), files, scratch)
        if "start" in what:
            start(options.sphex, [e for e in engines if e in ("sphex", "wasmtime", "wasmi")], scratch)
        if "costs" in what:
            costs(options.sphex, rounds, folders, scratch)
        if "counts" in what:
            print("\n### Instructions, by callgrind\n", flush=True)
            subprocess.run([sys.executable, os.path.join(HERE, "count.py"), "--peers", "--sphex", options.sphex], check=True)
        if "embed" in what:
            linked_in("Embedding: nanoseconds", "embed", rounds)
        if "io" in what:
            linked_in("Reading and writing through WASI", "io", rounds)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
