"""What a start costs, and what it costs to be stopped."""
import os, shutil, statistics, subprocess

from measuring import HERE, ROOT, interleave, measure, middle, ratios, table

STARTS = 40


def start(sphex, engines, scratch):
    """Whole process of a hello (hello.rs, by rustc -O -C strip=symbols for wasm32-wasip1): from an artifact, from .wasm."""
    wasm = os.path.join(HERE, "hello.wasm")
    commands = {}
    for e in engines:
        out = os.path.join(scratch, f"start-{e}")
        if e == "wasmi":
            commands[e, "wasm"] = ["wasmi", wasm]
            continue
        tool = [sphex] if e == "sphex" else ["wasmtime"]
        subprocess.run(tool + ["compile", wasm, "-o", out], check=True)
        commands[e, "artifact"] = tool + ["run", "--allow-precompiled", out]
        commands[e, "wasm"] = tool + ["run", "-C", "cache=n", wasm]
        if e == "sphex":
            os.environ["XDG_CACHE_HOME"] = os.path.join(scratch, "cache")
            commands[e, "cache"] = tool + ["run", wasm]
    commands["nothing", "a program that does nothing"] = [shutil.which("true") or "true"]
    took, least = {}, {}

    def act(key, _):
        code, _, wall, used, _ = measure(commands[key], ROOT)
        if code:
            return None
        least[key] = min(wall, least.get(key, wall))
        took.setdefault(key, []).append(used)
        return wall

    medians = middle(interleave(STARTS, list(commands), ["hello"], act))
    rows = []
    for key in commands:
        m = medians.get((key, "hello"))
        figures = [f"{x * 1000:.2f}" for x in (least[key], m, statistics.mean(took[key]))] if m else ["fails"] * 3
        rows.append([key[1] if key[0] == "nothing" else f"{key[0]} from {key[1]}"] + figures)
    table("Start of hello.wasm, whole process", ["engine", "ms wall, least", "median", "ms CPU, mean"], rows)


# What `costs` runs: short, because the least of many runs is what counts.
SHORT = {"bzip2": "1", "cmark": "6", "zstd": "1", "box2d": "200", "lua": None, "polyk": "150 2", "shootk": None,
         "sqlite": "--memdb --size 5"}
# name: options to compile with, options to run with
KINDS = {"neither": (["-C", "interruption=n"], ["-C", "interruption=n"]), "interruption": ([], []),
         "fuel": (["-C", "interruption=n", "-W", "fuel=1"], ["-C", "interruption=n", "-W", f"fuel={1 << 62}"])}


def costs(sphex, rounds, folders, scratch):
    """What a program pays for being stopped: by epochs, deadlines and signals (one check for all), and by fuel."""
    names = [n for n in SHORT if n in folders]
    arguments = {n: (SHORT[n] or open(f"{folders[n]}/run.args").read().strip()).split() for n in names}
    for n in names:
        for kind, (to_compile, _) in KINDS.items():
            out = os.path.join(scratch, f"cost-{n}-{kind}")
            subprocess.run([sphex, "compile", *to_compile, f"{folders[n]}/{n}.wasm", "-o", out], check=True)

    def act(kind, n):
        artifact = os.path.join(scratch, f"cost-{n}-{kind}")
        run = [sphex, "run", "--allow-precompiled", "--dir", ".", *KINDS[kind][1], artifact, *arguments[n]]
        code, _, _, used, _ = measure(run, folders[n])
        return None if code else used

    values = interleave(max(rounds, 9), list(KINDS), names, act)
    table("Cost of being stopped: least CPU seconds (ratio; interval of the median)", ["program"] + list(KINDS),
          ratios("neither", list(KINDS), names, values, min))
