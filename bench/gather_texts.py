#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Gathers the long texts that `tamis bench filters` and `tamis bench quality` are run on.

Usage: gather_texts.py FOLDER

Writes FOLDER/search/*.txt (for choosing filter layers) and FOLDER/held-out/*.txt (for reporting
quality). Every text is a piece of a file that a Debian 12 package brings: public domain, or under
a licence that lets it be distributed. The pieces are pinned by digest; a package that is not
installed is downloaded with apt-get and unpacked into a temporary folder, not installed.
"""
import gzip
import hashlib
import pathlib
import subprocess
import sys
import tempfile

PIECE_BYTES = 44000  # more than 8192 tokens of SmolLM2 in every text
# set, name, package, path, first byte, digest of the piece
TEXTS = [
    ("search", "gpl-3", "base-files", "/usr/share/common-licenses/GPL-3", 0, "3972dc9744f6499f"),
    ("search", "devils-dictionary", "dict-devil",
     "/usr/share/dictd/devil.dict.dz", 30000, "f841bfb956b08dc6"),
    ("search", "vim-scripts", "vim-runtime",
     "/usr/share/vim/vim90/doc/usr_41.txt", 0, "b8d5eddf65e82913"),
    ("search", "cmake-presets", "cmake-data",
     "/usr/share/cmake-3.25/Help/manual/cmake-presets.7.rst", 0, "28381c27990e44a2"),
    ("search", "perl-diagnostics", "perl-modules-5.36",
     "/usr/share/perl/5.36.0/pod/perldiag.pod", 20000, "eb862e5328f56028"),
    ("search", "x11-protocol", "xproto",
     "/usr/share/doc/xproto/x11protocol.txt.gz", 60000, "27ec9a6be8bf6141"),
    ("held-out", "debian-faq", "debian-faq",
     "/usr/share/doc/debian/FAQ/debian-faq.en.txt.gz", 20000, "1b0ab91971c06e59"),
    ("held-out", "sed-faq", "sed", "/usr/share/doc/sed/sedfaq.txt.gz", 8000, "4319ef4678d1f679"),
    ("held-out", "maketext", "perl-modules-5.36",
     "/usr/share/perl/5.36.0/Locale/Maketext.pod", 0, "42c8b4fc36a96242"),
    ("held-out", "vim-editing", "vim-runtime",
     "/usr/share/vim/vim90/doc/editing.txt", 0, "e4994792d1ac0f1a"),
    ("held-out", "cmake-generators", "cmake-data",
     "/usr/share/cmake-3.25/Help/manual/cmake-generator-expressions.7.rst", 0, "f649b2c3f2f93a4f"),
    ("held-out", "lgpl-2.1", "base-files",
     "/usr/share/common-licenses/LGPL-2.1", 0, "dc626520dcd53a22"),
    ("held-out", "jargon-file", "dict-jargon",
     "/usr/share/dictd/jargon.dict.dz", 400000, "4f39b350d3c76865"),
    ("held-out", "libpng-manual", "libpng16-16",
     "/usr/share/doc/libpng16-16/libpng-manual.txt.gz", 30000, "482428236903f48a"),
    ("held-out", "git-release", "git",
     "/usr/share/doc/git/RelNotes/2.20.0.txt", 0, "df0a465668b60d7b"),
    ("held-out", "slang-manual", "libslang2",
     "/usr/share/doc/libslang2/slang.txt.gz", 30000, "73a5e73707389834"),
]


def unpacked(package, path, folder):
    """The file of an installed package, or of one that is downloaded."""
    installed = pathlib.Path(path)
    if installed.is_file():
        return installed
    home = folder / package
    if not home.exists():
        home.mkdir(parents=True)
        print(f"downloading {package}")
        subprocess.run(["apt-get", "download", "-qq", package], cwd=home, check=True,
                       stderr=subprocess.DEVNULL)
        subprocess.run(["dpkg", "-x", str(next(home.glob("*.deb"))), str(home)], check=True)
    return home / path.lstrip("/")


def piece_of(file, first):
    data = file.read_bytes()
    if file.suffix in (".gz", ".dz"):
        data = gzip.decompress(data)
    text = data[first:first + PIECE_BYTES].decode("utf-8", errors="ignore")
    return text if first == 0 else text.split("\n", 1)[1]  # from the start of a line


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    target = pathlib.Path(sys.argv[1])
    changed = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind, name, package, path, first, digest in TEXTS:
            text = piece_of(unpacked(package, path, pathlib.Path(folder)), first)
            found = hashlib.sha256(text.encode()).hexdigest()[:16]
            if found != digest:
                changed += 1
                print(f"{name}: digest {found}, pinned is {digest}: another version of {package}?")
            to = target / kind / f"{name}.txt"
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_text(text)
    print(f"{len(TEXTS)} texts in {target}, {changed} of them not as pinned")
    sys.exit(1 if changed else 0)


if __name__ == "__main__":
    main()
