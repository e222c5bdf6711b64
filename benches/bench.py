#!/usr/bin/env python3
"""Sphex beside its peers: run time, compile time, artifact size, peak memory, start, embedding, input and output. Prints
Markdown: every figure of README.md beside this file.

usage: bench.py [--rounds N] [--only a,b] [--engines sphex,wasmtime,...] [--sphex PATH] [--what run,compile,start,costs,embed,io]

V8 writes the CPU seconds of the program alone (BENCH_TIMEFILE of node-wasi.mjs); the others are whole processes.
Programs are those of ../shared/bench/open (BENCH_OPEN overrides). Every figure is a median of rounds in which the engines
took turns; ratios are of medians within this one run. Peers are found on PATH (setup.sh installs them).
"""
import argparse, math, os, random, shlex, shutil, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)

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


def parse():
    p = argparse.ArgumentParser()
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--only", default="")
    p.add_argument("--engines", default="sphex,wasmtime,winch,v8,native")
    p.add_argument("--sphex", default=os.path.join(ROOT, "target/release/sphex"))
    p.add_argument("--what", default="run,compile,start,costs,embed,io")
    p.add_argument("--base", default="wasmtime")
    return p.parse_args()


def measure(command, cwd, time_file=None):
    """Runs a command; returns (exit code, stdout, wall seconds, CPU seconds, peak KiB)."""
    begin = time.perf_counter()
    out = tempfile.TemporaryFile()
    env = dict(os.environ, BENCH_TIMEFILE=time_file) if time_file else None
    child = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL, env=env)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - begin
    out.seek(0)
    return child.returncode, out.read(), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def programs(options):
    root = os.environ.get("BENCH_OPEN", os.path.join(ROOT, "../shared/bench/open"))
    only = set(filter(None, options.only.split(",")))
    for name in sorted(os.listdir(root)):
        if name not in SIMD and (not only or name in only):
            yield name, os.path.join(os.path.abspath(root), name)


def command(template, options, name, folder, out):
    args = open(os.path.join(folder, "run.args")).read().strip()
    return shlex.split(template.format(sphex=os.path.abspath(options.sphex), wasm=f"{folder}/{name}.wasm", out=out,
                                       native=f"{folder}/{name}.native", args=args, open=os.path.dirname(folder)))


def table(title, heads, rows):
    print(f"\n### {title}\n\n| " + " | ".join(heads) + " |\n|---|" + "---:|" * (len(heads) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def interleave(options, engines, names, act):
    """act(engine, name) -> value or None, rounds times, engines taking turns in any order; lists by (engine, name)."""
    values = {}
    for r in range(options.rounds):
        for name in names:
            for engine in random.sample(engines, len(engines)):
                value = act(engine, name)
                if value is not None:
                    values.setdefault((engine, name), []).append(value)
    return values


def middle(values):
    """The median of each list."""
    return {key: statistics.median(v) for key, v in values.items()}


def interval(options, values, engine, name):
    """95 % interval of the median of the ratios round by round: by order statistics, whatever their distribution."""
    ours, base = values.get((engine, name), []), values.get((options.base, name), [])
    n = min(len(ours), len(base))
    if engine == options.base or len(ours) != len(base) or n < 6:
        return ""
    pairs = sorted(a / b for a, b in zip(ours, base))
    low = max(k for k in range(1, n // 2 + 1) if 2 * sum(math.comb(n, i) for i in range(k)) <= 0.05 * 2 ** n)
    return f", {pairs[low - 1]:.2f} to {pairs[n - low]:.2f}"


def ratios(options, engines, names, values):
    """Rows of medians, with their ratio to the base's, and its interval where there are rounds enough."""
    medians = middle(values)
    rows = []
    logs = {e: [] for e in engines}
    for name in names:
        base = medians.get((options.base, name))
        row = [name]
        for e in engines:
            m = medians.get((e, name))
            if m is None:
                row.append("-")
            elif base:
                row.append(f"{m:.3f} ({m / base:.2f}{interval(options, values, e, name)})")
                logs[e].append(math.log(m / base))
            else:
                row.append(f"{m:.3f}")
        rows.append(row)
    rows.append(["**geomean ratio**"] + [f"**{math.exp(sum(v) / len(v)):.3f}**" if v else "-" for v in logs.values()])
    return rows


def main():
    options = parse()
    engines = [e for e in options.engines.split(",") if e in ENGINES]
    for e in list(engines):
        tool = shlex.split(ENGINES[e][1])[0]
        if not tool.startswith("{") and not shutil.which(tool):
            print(f"{e}: {tool} is not on PATH, left out", file=sys.stderr)
            engines.remove(e)
    folders = dict(programs(options))
    names = list(folders)
    scratch = tempfile.mkdtemp(prefix="sphex-bench-")
    artifact = lambda e, n: os.path.join(scratch, f"{e}-{n}.bin")
    compilers = [e for e in engines if ENGINES[e][0]]
    what = options.what.split(",")
    print(f"rounds: {options.rounds}; cpu: {cpu()}; date: {time.strftime('%Y-%m-%d')}; base: {options.base}")

    peak = {}

    def build(e, n):
        code, _, _, used, memory = measure(command(ENGINES[e][0], options, n, folders[n], artifact(e, n)), folders[n])
        peak[e, n] = memory
        if code:
            print(f"{e}: {n} does not compile (exit {code})", file=sys.stderr)
        return None if code else used

    rounds = options.rounds
    options.rounds = rounds if "compile" in what else 1
    built = interleave(options, compilers, names, build) if {"run", "compile"} & set(what) else {}
    options.rounds = rounds
    if "compile" in what:
        table("Compile, one thread: CPU seconds (ratio)", ["program"] + compilers,
              ratios(options, compilers, names, built))
        rows = []
        used = middle(built)
        for n in names:
            size = os.path.getsize(f"{folders[n]}/{n}.wasm")
            row = [n]
            for e in compilers:
                if (e, n) in built:
                    row.append(f"{size / 1e6 / used[e, n]:.2f} MB/s, {os.path.getsize(artifact(e, n)) / size:.2f}x, "
                               f"{peak[e, n] / 1024:.0f} MiB")
                else:
                    row.append("-")
            rows.append(row)
        table("Compile: speed, artifact bytes over wasm bytes, peak memory", ["program"] + compilers, rows)
    if "run" in what:
        wrong = set()

        def run(e, n):
            if ENGINES[e][0] and (e, n) not in built:
                return None
            alone = os.path.join(scratch, "seconds") if e == "v8" else None
            code, out, _, used, _ = measure(command(ENGINES[e][1], options, n, folders[n], artifact(e, n)), folders[n], alone)
            if alone and not code:
                used = float(open(alone).read().split()[1])
            if code or out != open(f"{folders[n]}/expected.stdout", "rb").read():
                wrong.add((e, n, code))
                return None
            return used

        table("Run, from precompiled code: CPU seconds (ratio)", ["program"] + engines,
              ratios(options, engines, names, interleave(options, engines, names, run)))
        for e, n, code in sorted(wrong):
            print(f"\nnot counted: {e} {n}: exit {code} or wrong output")
    if "start" in what:
        start(options, [e for e in engines if e in ("sphex", "wasmtime", "wasmi")], scratch)
    if "costs" in what:
        costs(options, folders, scratch)
    if "embed" in what:
        linked_in("Embedding: nanoseconds", "embed", rounds)
    if "io" in what:
        linked_in("Reading and writing through WASI", "io", rounds)
    shutil.rmtree(scratch)


# What `costs` runs: short, because the least of many runs is what counts.
SHORT = {"bzip2": "1", "cmark": "6", "zstd": "1", "box2d": "200", "polyk": "150 2", "sqlite": "--memdb --size 5"}
# name: options to compile with, options to run with
KINDS = {"neither": (["-C", "interruption=n"], ["-C", "interruption=n"]), "interruption": ([], []),
         "fuel": (["-C", "interruption=n", "-W", "fuel=1"], ["-C", "interruption=n", "-W", f"fuel={1 << 62}"])}


def costs(options, folders, scratch):
    """What a program pays for being stopped: by epochs, deadlines and signals (one check for all), and by fuel."""
    sphex = os.path.abspath(options.sphex)
    names = [n for n in SHORT if n in folders]
    least = {}
    for n in names:
        for kind, (to_compile, _) in KINDS.items():
            out = os.path.join(scratch, f"cost-{n}-{kind}")
            subprocess.run([sphex, "compile", *to_compile, f"{folders[n]}/{n}.wasm", "-o", out], check=True)

    def act(kind, n):
        artifact = os.path.join(scratch, f"cost-{n}-{kind}")
        run = [sphex, "run", "--allow-precompiled", "--dir", ".", *KINDS[kind][1], artifact, *SHORT[n].split()]
        code, _, _, used, _ = measure(run, folders[n])
        if not code:
            least[kind, n] = min(used, least.get((kind, n), used))
        return None if code else used

    rounds, options.rounds = options.rounds, max(options.rounds, 15)
    interleave(options, list(KINDS), names, act)
    options.rounds = rounds
    options.base, base = "neither", options.base
    table("Cost of being stopped: least CPU seconds (ratio)", ["program"] + list(KINDS),
          ratios(options, list(KINDS), names, least, "s"))
    options.base = base


def linked_in(title, program, rounds):
    """A program of this workspace, which links the peers in and prints a table of its own."""
    run = ["cargo", "run", "--quiet", "--release", "--manifest-path", os.path.join(HERE, "Cargo.toml"), "--bin", program]
    print(f"\n### {title}\n", flush=True)
    subprocess.run(run + ["--", str(rounds)], check=True)


def start(options, engines, scratch):
    """Whole process of a hello (hello.rs, by rustc -O -C strip=symbols for wasm32-wasip1): from an artifact, from .wasm."""
    wasm = os.path.join(HERE, "hello.wasm")
    rows = []
    commands = {}
    sphex = os.path.abspath(options.sphex)
    for e in engines:
        out = os.path.join(scratch, f"start-{e}")
        if e == "wasmi":
            commands[e, "wasm"] = ["wasmi", wasm]
            continue
        tool = [sphex] if e == "sphex" else ["wasmtime"]
        subprocess.run(tool + ["compile", wasm, "-o", out], check=False)
        commands[e, "artifact"] = tool + ["run", "--allow-precompiled", out]
        commands[e, "wasm"] = tool + ["run", "-C", "cache=n", wasm]
        if e == "sphex":
            os.environ["XDG_CACHE_HOME"] = os.path.join(scratch, "cache")
            commands[e, "cache"] = tool + ["run", wasm]
    commands["nothing", "a program that does nothing"] = [shutil.which("true") or "true"]
    options.rounds, rounds = 40, options.rounds
    took, least = {}, {}

    def act(key, _):
        code, _, wall, used, _ = measure(commands[key], ROOT)
        if code:
            return None
        least[key] = min(wall, least.get(key, wall))
        took.setdefault(key, []).append(used)
        return wall

    medians = middle(interleave(options, list(commands), ["hello"], act))
    options.rounds = rounds
    for key in commands:
        m = medians.get((key, "hello"))
        figures = [f"{x * 1000:.2f}" for x in (least[key], m, statistics.mean(took[key]))] if m else ["fails"] * 3
        rows.append([f"{key[0]} from {key[1]}"] + figures)
    table("Start of hello.wasm, whole process", ["engine", "ms wall, least", "median", "ms CPU, mean"], rows)


def cpu():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


if __name__ == "__main__":
    main()
