"""The summary of make bench's rounds, and its tables."""

import statistics

from bench import measures as m


def summary(rounds):
    """Summarise rounds of {server: {measure: value}}: medians, spreads, and the aims."""
    servers = {
        name: {measure: spread([one[name][measure] for one in rounds]) for measure in rounds[0][name]}
        for name in rounds[0]
    }
    aims = []
    for aim in m.AIMS:
        told = {"aim": str(aim), "wanted": aim.aim, "most": aim.most}
        values = [aim.found(one) for one in rounds]
        if None not in values:
            told |= spread(values)
            told["met"] = aim.met(told["median"])
            if None not in (by_cpu := [aim.found(one, "cpu ") for one in rounds]):
                told["cpu"] = statistics.median(by_cpu)
        aims.append(told)
    return {"servers": servers, "aims": aims}


def spread(values):
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def lines(report):
    """A summary as Markdown, line by line."""
    servers = report["servers"]
    shared = [m.ONE8, m.P50, m.P99_1, m.P99, m.OBJECTS, m.TENSOR, m.MEMORY, m.START]
    yield "\nIn brackets: the server's CPU us a request.\n"
    yield from head("served by", *shared)
    for name, found in servers.items():
        yield row(name, *(cell(found, measure) for measure in shared))
    ours = servers[m.OURS]
    yield ""
    yield from head("passfail alone", "median", "lowest to highest", "CPU us a request")
    for measure, value in ours.items():
        if measure not in shared and not measure.startswith(("cpu ", "busy ")):
            cpu = ours.get(f"cpu {measure}")
            yield row(measure, number(value["median"]), between(value), number(cpu["median"]) if cpu else "")
    yield ""
    yield from head("wanted", "aim", "found", "lowest to highest", "by CPU", "")
    for told in report["aims"]:
        aim = f"at {'most' if told['most'] else 'least'} {number(told['wanted'])}"
        if "median" not in told:
            yield row(told["aim"], aim, "not measured", "", "", "")
            continue
        by_cpu = number(told["cpu"]) if "cpu" in told else ""
        yield row(told["aim"], aim, number(told["median"]), between(told), by_cpu, "met" if told["met"] else "NOT MET")
    yield ""
    yield from head("one core serves", "a second", "CPU us a request", "of the core busy", "cores for 1,000 requests/s")
    for measure in (m.ONE8, m.ONE_V2, m.ONE_ARRAY, m.LOGGED, m.OBJECTS, m.ARRAYS, m.TENSOR, m.BINARY, m.CSV):
        cpu, busy = ours[f"cpu {measure}"]["median"], ours[f"busy {measure}"]["median"]
        yield row(measure, number(ours[measure]["median"]), number(cpu), f"{busy:.0%}", number(cpu / 1000))
    if (busy := ours[f"busy {m.ONE8}"]["median"]) < 0.9:
        yield f"\nthe server had {busy:.0%} of its core, others the rest: believe what is told by CPU, not the rates"
    if report["one core"]:
        yield "\none core: the server and wrk shared it, so the numbers are lower than they would be"


def head(*names):
    return row(*names), "|" + "-|" * len(names)


def row(*cells):
    return f"| {' | '.join(cells)} |"


def cell(found, measure):
    if measure not in found:
        return "-"
    cpu = found.get(f"cpu {measure}")
    return number(found[measure]["median"]) + (f" ({number(cpu['median'])})" if cpu else "")


def between(found):
    return f"{number(found['low'])} to {number(found['high'])}"


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
