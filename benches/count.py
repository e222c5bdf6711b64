#!/usr/bin/env python3
"""Counts instructions instead of timing, by callgrind: compiling, running and starting programs, and what embedding does.

usage: count.py [--sphex PATH] [--embed PATH] [--only WORDS] [--limit PERCENT] [--bless]
       count.py --costs [--sphex PATH] [--only WORDS]
       count.py --peers [--sphex PATH] [--only WORDS]

A count does not depend on what else the machine runs and repeats to about a thousandth, so that it shows a regression of one
hundredth that no clock here would. Each row is compared with counts.tsv beside this file; the command fails if one has grown
by more than the limit, or is not there. --bless writes the table anew. Everything is compiled for the baseline CPU
(valgrind's has no AVX-512), on one thread, without the cache. Rows of embedding are for one operation: twice as many are
counted, and the difference is divided. --costs prints what interruption (the check that epochs, deadlines and signals need)
and fuel cost the code that runs. --peers counts what Wasmtime (on PATH) and the native twins of the programs execute beside
Sphex, and what Wasmtime needs to compile them. Programs are those of ../shared/bench/open (BENCH_OPEN overrides) and hello.wasm.
"""
import argparse, math, os, re, shutil, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
TABLE = os.path.join(HERE, "counts.tsv")
HELLO = os.path.join(HERE, "hello.wasm")
OPEN = os.path.abspath(os.environ.get("BENCH_OPEN", os.path.join(ROOT, "../shared/bench/open")))

# The three programs that are compiled and run, with arguments that make them short.
PROGRAMS = {"bzip2": "1", "cmark": "3", "zstd": "1"}
# Those that --peers runs.
PEERS = {"box2d": "20", "bzip2": "1", "cmark": "3", "lua": "1", "polyk": "100 1", "shootk": "1",
         "sqlite": "--memdb --size 2", "zstd": "1"}
# Those that --costs runs.
COSTS = {"bzip2": "1", "cmark": "3", "zstd": "1", "box2d": "20", "polyk": "100 1", "sqlite": "--memdb --size 2"}
# What `embed repeat` can do, and how often it is done to be counted.
EMBED = {"instantiate": 500, "instantiate-pooled": 500, "typed": 5000, "untyped": 5000, "host": 5000}


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sphex", default=os.path.join(ROOT, "target/ci/sphex"))
    p.add_argument("--embed", default="", help="the embed program of this workspace; without it its rows are left out")
    p.add_argument("--only", default="", help="only rows that contain one of these words")
    p.add_argument("--costs", action="store_true")
    p.add_argument("--peers", action="store_true")
    p.add_argument("--bless", action="store_true")
    p.add_argument("--limit", type=float, default=1.0)
    return p.parse_args()


def instructions(command, cwd, scratch):
    """Instructions that a command executes in user space."""
    tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={scratch}/callgrind.out", "--"]
    # The environment is on the stack: it must not differ from run to run.
    env = {"PATH": os.environ["PATH"], "HOME": scratch, "XDG_CACHE_HOME": scratch}
    run = subprocess.run(tool + command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True)
    found = re.search(rb"Collected : (\d+)", run.stderr)
    if run.returncode or not found:
        sys.exit(f"{' '.join(command)}: exit {run.returncode}\n{run.stderr.decode(errors='replace')[-2000:]}")
    return int(found.group(1))


def rows(options, scratch):
    """(name, function that counts it), in order. A program is compiled before it is run."""
    sphex = os.path.abspath(options.sphex)
    compile_ = [sphex, "compile", "-C", "threads=1", "--target", "x86_64-linux"]
    run = [sphex, "run", "--allow-precompiled", "--dir", "."]

    def count(command, cwd=ROOT):
        return lambda: instructions(command, cwd, scratch)

    def run_counted(wasm, artifact, arguments, cwd):
        def counted():
            if not os.path.exists(artifact):
                subprocess.run(compile_ + [wasm, "-o", artifact], check=True)
            return instructions(run + [artifact] + arguments, cwd, scratch)
        return counted

    for name, arguments in PROGRAMS.items():
        folder, artifact = f"{OPEN}/{name}", f"{scratch}/{name}"
        yield f"compile {name}", count(compile_ + [f"{folder}/{name}.wasm", "-o", artifact])
        yield f"run {name} {arguments}", run_counted(f"{folder}/{name}.wasm", artifact, arguments.split(), folder)
    yield "compile hello", count(compile_ + [HELLO, "-o", f"{scratch}/hello"])
    yield "start hello from artifact", run_counted(HELLO, f"{scratch}/hello", [], ROOT)
    # For the CPU that valgrind shows: a run takes no target.
    yield "start hello from wasm, lazily", count([sphex, "run", "-C", "cache=n", HELLO])
    if options.embed:
        embed = os.path.abspath(options.embed)
        for what, often in EMBED.items():
            command = [embed, "repeat", what]
            yield f"embed {what}", lambda command=command, often=often: round(
                (instructions(command + [str(3 * often)], ROOT, scratch) - instructions(command + [str(often)], ROOT, scratch))
                / (2 * often))


def known():
    if not os.path.exists(TABLE):
        return {}
    lines = (line.rstrip("\n").split("\t") for line in open(TABLE) if line.strip() and not line.startswith("#"))
    return {name: int(count) for name, count in lines}


def compare(options, scratch):
    before, found, failed = known(), {}, []
    words = options.only.split(",")
    print("| what | instructions | counts.tsv | change |\n|---|---:|---:|---:|")
    for name, counted in rows(options, scratch):
        if not any(word in name for word in words):
            continue
        found[name] = count = counted()
        old = before.get(name)
        shown, change = ("-", "new") if old is None else (f"{old:,}", f"{(count / old - 1) * 100:+.2f} %")
        print(f"| {name} | {count:,} | {shown} | {change} |", flush=True)
        if old is None or count > old * (1 + options.limit / 100):
            failed.append(name)
    if options.bless:
        with open(TABLE, "w") as table:
            table.write("# Instructions, as count.py counts them by callgrind; `count.py --bless` writes this file.\n")
            for name, count in {**before, **found}.items():
                table.write(f"{name}\t{count}\n")
    elif failed:
        sys.exit(f"more than {options.limit} % above counts.tsv, or not in it: {', '.join(failed)}")


def costs(options, scratch):
    """What the code that runs pays for being stopped."""
    sphex = os.path.abspath(options.sphex)
    words = options.only.split(",")
    # name: options to compile with, options to run with
    kinds = {"neither": (["-C", "interruption=n"], ["-C", "interruption=n"]), "interruption": ([], []),
             "fuel": (["-W", "fuel=1", "-C", "interruption=n"], ["-W", f"fuel={1 << 62}", "-C", "interruption=n"])}
    shares = {kind: [] for kind in kinds if kind != "neither"}
    print("| program | instructions with neither | interruption | fuel |\n|---|---:|---:|---:|")
    for name, arguments in COSTS.items():
        if not any(word in name for word in words):
            continue
        folder, counts = f"{OPEN}/{name}", {}
        for kind, (to_compile, to_run) in kinds.items():
            artifact = f"{scratch}/{name}-{kind}"
            subprocess.run([sphex, "compile", "--target", "x86_64-linux", *to_compile, f"{folder}/{name}.wasm", "-o", artifact],
                           check=True)
            command = [sphex, "run", "--allow-precompiled", "--dir", ".", *to_run, artifact, *arguments.split()]
            counts[kind] = instructions(command, folder, scratch)
        plain, row = counts["neither"], [name, f"{counts['neither']:,}"]
        for kind, values in shares.items():
            values.append(counts[kind] / plain)
            row.append(f"{(counts[kind] / plain - 1) * 100:+.2f} %")
        print("| " + " | ".join(row) + " |", flush=True)
    means = (f"**{(math.exp(sum(map(math.log, v)) / len(v)) - 1) * 100:+.2f} %**" for v in shares.values() if v)
    print("| **geomean** | | " + " | ".join(means) + " |")


def peers(options, scratch):
    """Whole processes of the same work: Sphex, Wasmtime (some 34 million of start) and the native twin."""
    sphex, words = os.path.abspath(options.sphex), options.only.split(",")
    if not shutil.which("wasmtime"):
        sys.exit("count.py --peers needs wasmtime on PATH (benches/setup.sh)")
    compilers = {"sphex": [sphex, "compile", "-C", "threads=1", "--target", "x86_64-linux"],
                 "wasmtime": ["wasmtime", "compile", "-C", "parallel-compilation=n", "--target", "x86_64-unknown-linux-gnu"]}
    tools = {"sphex": sphex, "wasmtime": "wasmtime"}
    print("| million instructions | compile: sphex | wasmtime | run: sphex | wasmtime | native |\n|---|" + "---:|" * 5)
    for name, arguments in PEERS.items():
        if not any(word in name for word in words):
            continue
        folder = f"{OPEN}/{name}"
        build, run = {}, {}
        for e, compile_ in compilers.items():
            artifact = f"{scratch}/{name}-{e}"
            build[e] = instructions([*compile_, f"{folder}/{name}.wasm", "-o", artifact], folder, scratch)
            command = [tools[e], "run", "--allow-precompiled", "--dir", ".", artifact, *arguments.split()]
            run[e] = instructions(command, folder, scratch)
        native = instructions([f"{folder}/{name}.native", *arguments.split()], folder, scratch)
        row = [name + " " + arguments]
        for counts, base in ((build, build["wasmtime"]), (run, run["wasmtime"]), ({"native": native}, run["wasmtime"])):
            row += [f"{count / 1e6:.1f} ({count / base:.2f})" for count in counts.values()]
        print("| " + " | ".join(row) + " |", flush=True)


def main():
    options = parse()
    if not shutil.which("valgrind"):
        sys.exit("count.py needs valgrind (apt-get install valgrind)")
    scratch = tempfile.mkdtemp(prefix="sphex-count-")
    try:
        (costs if options.costs else peers if options.peers else compare)(options, scratch)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
