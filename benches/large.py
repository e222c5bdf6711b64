"""Large modules that nobody here wrote, compiled on one thread beside the peer; two threads beside two processes."""
import os, re, statistics, subprocess, sys, time

from measuring import interleave, measure, middle, table

# Where ci/toolchains.sh puts them.
FOLDER = os.path.join(os.environ.get("SPHEX_PROGRAMS", "/opt/sphex-programs"), "programs")
LARGE = ["esbuild", "cc1", "ruby"]


def code_bytes(wasm):
    """Bytes of a module's code section."""
    data = open(wasm, "rb").read()
    at = 8
    while at < len(data):
        kind, at, size, shift = data[at], at + 1, 0, 0
        while True:
            byte, at = data[at], at + 1
            size, shift = size | (byte & 0x7f) << shift, shift + 7
            if byte < 0x80:
                break
        if kind == 10:
            return size
        at += size
    return 0


def text_bytes(artifact):
    """Bytes of machine code in an artifact."""
    shown = subprocess.run(["readelf", "-SW", artifact], capture_output=True, text=True, check=True).stdout
    return int(re.search(r" \.text\s+PROGBITS\s+\w+ \w+ (\w+)", shown).group(1), 16)


def large(sphex, rounds, scratch):
    """CPU seconds, seconds a MB of wasm and of machine code, peak memory."""
    files = {n: f"{FOLDER}/{n}.wasm" for n in LARGE if os.path.exists(f"{FOLDER}/{n}.wasm")}
    if not files:
        print(f"large: nothing in {FOLDER} (ci/toolchains.sh fetches it)", file=sys.stderr)
        return
    engines = {"sphex": [sphex, "compile", "-C", "threads=1", "-C", "cache=n"],
               "wasmtime": ["wasmtime", "compile", "-C", "parallel-compilation=n"]}
    peak, text = {}, {}

    def act(e, n):
        out = os.path.join(scratch, "large")
        code, _, _, used, memory = measure(engines[e] + [files[n], "-o", out], scratch)
        if code:
            return None
        peak[e, n], text[e, n] = memory / 1024, text_bytes(out)
        return used

    used = middle(interleave(rounds, list(engines), list(files), act))
    rows, by_wasm, by_text = [], {}, {}
    for n, wasm in files.items():
        size = code_bytes(wasm) / 1e6
        row = [n, f"{size:.2f}"]
        for e in engines:
            if (e, n) not in used:
                row.append("fails")
                continue
            mine, beside = used[e, n], used.get(("wasmtime", n), float("nan"))
            by_wasm.setdefault(e, []).append(mine / size)
            by_text.setdefault(e, []).append(mine / text[e, n] * 1e6)
            row.append(f"{mine:.2f} s ({mine / beside:.2f}), {by_wasm[e][-1]:.2f} s/MB of wasm, {by_text[e][-1]:.2f} of machine "
                       f"code, {peak[e, n]:.0f} MiB ({peak[e, n] / peak.get(('wasmtime', n), float('nan')):.2f})")
        rows.append(row)
    spread = lambda v: f"{max(v) / min(v):.2f}" if v else "-"
    rows.append(["**most over least**", ""] + [f"**{spread(by_wasm.get(e))} by wasm, {spread(by_text.get(e))} by machine code**"
                                               for e in engines])
    table("Large modules, one thread: CPU seconds (ratio), peak memory (ratio)", ["module", "MB of code"] + list(engines), rows)


def two_threads(sphex, rounds, files, scratch):
    """Speed of two threads over that of two processes of one thread each."""
    def wall(jobs):
        begin = time.perf_counter()
        running = [subprocess.Popen([sphex, "compile", "-C", f"threads={threads}", "-C", "cache=n", wasm, "-o", out])
                   for threads, wasm, out in jobs]
        if any(job.wait() for job in running):
            sys.exit("two threads: does not compile")
        return time.perf_counter() - begin

    rows = []
    for n, wasm in files.items():
        shares = []
        for _ in range(rounds):
            threads = wall([(2, wasm, f"{scratch}/two")])
            processes = wall([(1, wasm, f"{scratch}/one"), (1, wasm, f"{scratch}/other")])
            shares.append(processes / 2 / threads)
        rows.append([n, f"{statistics.median(shares):.2f}", f"{min(shares):.2f} to {max(shares):.2f}"])
    table("Two threads: speed over that of two processes", ["module", "median", "rounds"], rows)
