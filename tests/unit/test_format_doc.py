#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps docs/format.md in step with the format headers.

    test_format_doc.py SOURCE_ROOT CC [CC_ARG...]

Every table on the page that follows a marker

    <!-- struct NAME: HEADER -->      rows: offset, size, field, meaning
    <!-- constants: HEADER -->        rows: constant, value, meaning
    <!-- records: SOURCE -->          rows: type, name, payload; as the enum in SOURCE numbers them

is compared with what the compiler says about the header.  And the other way round: every
field, padding included, every struct of the two format headers and every type of log record
must be on the page.
"""
import os
import re
import subprocess
import sys
import tempfile

FORMAT_HEADERS = ['pool/format.h', 'fs/format.h']


def parse(text):
    """Yields (kind, name, header, rows) for every marked table; a row is a list of cells."""
    marker = re.compile(r'<!-- (?:struct (\w+)|constants): (\S+) -->')
    kind, name, header, rows = None, None, None, []
    for line in text.splitlines():
        m = marker.match(line)
        if m or (rows and not line.startswith('|')):
            if kind:
                yield kind, name, header, rows
            kind, rows = None, []
        if m:
            kind = 'struct' if m.group(1) else 'constants'
            name, header = m.group(1), m.group(2)
        elif kind and line.startswith('|') and not re.match(r'\|[-|\s]+$', line):
            cells = [c.strip() for c in line.strip('|').split('|')]
            if cells[0] not in ('offset', 'constant'):
                rows.append(cells)
    if kind:
        yield kind, name, header, rows


def field_of(cell):
    m = re.fullmatch(r'`(\w+)`', cell)
    if not m:
        raise ValueError('not a name in backquotes: %s' % cell)
    return m.group(1)


def program(tables):
    """A C program that prints, for each row of each table, what the compiler knows."""
    headers = sorted({h for _, _, h, _ in tables} | set(FORMAT_HEADERS))
    out = ['#include <stddef.h>', '#include <stdio.h>']
    out += ['#include "%s"' % h for h in headers]
    out.append('int main(void) {')
    for kind, name, _, rows in tables:
        for row in rows:
            if kind == 'constants':
                out.append('printf("%%llu\\n", (unsigned long long)(%s));' % field_of(row[0]))
                continue
            f = field_of(row[2])
            size = '0' if row[1] == '-' else 'sizeof(((struct %s *)0)->%s)' % (name, f)
            out.append('printf("%%zu %%zu\\n", offsetof(struct %s, %s), (size_t)%s);'
                       % (name, f, size))
        if kind == 'struct':
            out.append('printf("%%zu\\n", sizeof(struct %s));' % name)
    out.append('return 0; }')
    return '\n'.join(out) + '\n'


def compiler_says(source, root, cc):
    with tempfile.TemporaryDirectory() as tmp:
        c, exe = os.path.join(tmp, 'offsets.c'), os.path.join(tmp, 'offsets')
        with open(c, 'w') as f:
            f.write(source)
        subprocess.run(cc + ['-std=gnu11', '-D_GNU_SOURCE', '-I', os.path.join(root, 'src'), c,
                             '-o', exe], check=True)
        return subprocess.run([exe], check=True, capture_output=True, text=True).stdout.splitlines()


def compare_struct(name, rows, said, problems):
    end, flexible = 0, False
    for row in rows:
        offset, size = (int(x) for x in next(said).split())
        doc_size = 0 if row[1] == '-' else int(row[1])
        if (int(row[0]), doc_size) != (offset, size):
            problems.append('struct %s, %s: the page says offset %s, size %s; the header has %d, %d'
                            % (name, row[2], row[0], row[1], offset, size))
        if offset != end:
            problems.append('struct %s: a field between %d and %d is not on the page'
                            % (name, end, offset))
        end, flexible = offset + size, row[1] == '-'
    total = int(next(said))
    if end != total and not flexible:
        problems.append('struct %s: the page ends at %d, the struct at %d' % (name, end, total))


def compare_constants(rows, said, problems):
    for row in rows:
        value = int(next(said))
        if int(row[1], 0) != value:
            problems.append('%s: the page says %s, the header %d' % (row[0], row[1], value))


def undocumented(root, tables):
    known = {name for kind, name, _, _ in tables if kind == 'struct'}
    for h in FORMAT_HEADERS:
        with open(os.path.join(root, 'src', h)) as f:
            for name in re.findall(r'^struct (\w+) \{', f.read(), re.M):
                if name not in known:
                    yield 'struct %s of src/%s is not on the page' % (name, h)


def records(root, text):
    """The types of log records, which are an enum in a source file."""
    m = re.search(r'<!-- records: (\S+) -->\n((?:\|.*\n)+)', text)
    if not m:
        return ['no table of log records']
    page = {n: int(v) for v, n in re.findall(r'^\| (\d+) \| `(R_\w+)` \|', m.group(2), re.M)}
    with open(os.path.join(root, 'src', m.group(1))) as f:
        source = {n: int(v) for n, v in re.findall(r'\b(R_\w+) = (\d+)', f.read())}
    return ['log record %s: the page says %s, the source %s' % (n, page.get(n), source.get(n))
            for n in sorted(set(page) | set(source)) if page.get(n) != source.get(n)]


def check(root, text, cc):
    tables = list(parse(text))
    problems = list(undocumented(root, tables)) + records(root, text)
    said = iter(compiler_says(program(tables), root, cc))
    for kind, name, _, rows in tables:
        if not rows:
            problems.append('a marker without a table: %s %s' % (kind, name))
        elif kind == 'struct':
            compare_struct(name, rows, said, problems)
        else:
            compare_constants(rows, said, problems)
        if kind == 'struct' and not rows:
            next(said)
    return problems


def self_test(root, text, cc):
    """A page with a mistake must be noticed: the comparison itself is under test."""
    for old, new in [('| 72 | 8 | `nblocks`', '| 76 | 8 | `nblocks`'),
                     ('| 72 | 8 | `nblocks` | size', '| 72 | 4 | `nblocks` | size'),
                     ('| 40 | 16 | `uuid` | of the pool |\n', ''),
                     ('| `ZONE_BLOCKS` | 262144', '| `ZONE_BLOCKS` | 262143'),
                     ('| 7 | `R_SETATTR`', '| 17 | `R_SETATTR`'),
                     ('<!-- struct reap_entry: pool/format.h -->', '')]:
        if old not in text:
            return ['self test: "%s" is not on the page' % old.strip()]
        if not check(root, text.replace(old, new), cc):
            return ['self test: with "%s" changed to "%s" nothing was noticed' % (old, new)]
    return []


def main():
    root, cc = sys.argv[1], sys.argv[2:]
    with open(os.path.join(root, 'docs', 'format.md')) as f:
        text = f.read()
    problems = check(root, text, cc) or self_test(root, text, cc)
    for p in problems:
        print('docs/format.md: ' + p, file=sys.stderr)
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
