"""What every bench does alike: run a command and look at the clock, let engines take turns, print Markdown."""
import math, os, random, statistics, subprocess, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


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


def interleave(rounds, engines, names, act):
    """act(engine, name) -> value or None, rounds times, engines taking turns in any order; lists by (engine, name)."""
    values = {}
    for _ in range(rounds):
        for name in names:
            for engine in random.sample(engines, len(engines)):
                value = act(engine, name)
                if value is not None:
                    values.setdefault((engine, name), []).append(value)
    return values


def middle(values):
    """The median of each list."""
    return {key: statistics.median(v) for key, v in values.items()}


def interval(base, values, engine, name):
    """95 % interval of the median of the ratios round by round: by order statistics, whatever their distribution."""
    ours, theirs = values.get((engine, name), []), values.get((base, name), [])
    n = min(len(ours), len(theirs))
    if engine == base or len(ours) != len(theirs) or n < 6:
        return ""
    pairs = sorted(a / b for a, b in zip(ours, theirs))
    low = max(k for k in range(1, n // 2 + 1) if 2 * sum(math.comb(n, i) for i in range(k)) <= 0.05 * 2 ** n)
    return f", {pairs[low - 1]:.2f} to {pairs[n - low]:.2f}"


def ratios(base, engines, names, values, of=statistics.median):
    """Rows of medians (or what `of` takes of the rounds), with their ratio to the base's, and its interval where there are
    rounds enough."""
    taken = {key: of(v) for key, v in values.items()}
    rows = []
    logs = {e: [] for e in engines}
    for name in names:
        beside = taken.get((base, name))
        row = [name]
        for e in engines:
            m = taken.get((e, name))
            if m is None:
                row.append("-")
            elif beside:
                row.append(f"{m:.3f} ({m / beside:.2f}{interval(base, values, e, name)})")
                logs[e].append(math.log(m / beside))
            else:
                row.append(f"{m:.3f}")
        rows.append(row)
    rows.append(["**geomean ratio**"] + [f"**{math.exp(sum(v) / len(v)):.3f}**" if v else "-" for v in logs.values()])
    return rows


def table(title, heads, rows):
    """Prints a Markdown table."""
    print(f"\n### {title}\n\n| " + " | ".join(heads) + " |\n|---|" + "---:|" * (len(heads) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def cpu():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"
