"""Names as devices write them: character set, octets, and what they say.

Names and octets of PS3.5 annexes H (Japanese), I (Korean), J and K (Chinese) and of the examples of
single bytes in PS3.3; others by the code tables.
"""

from __future__ import annotations

from typing import NamedTuple


class Written(NamedTuple):
    """A person's name in a file."""

    sets: tuple[str, ...]
    octets: bytes
    text: str


_YAMADA = b"=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
_HONG = b"=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"

DECODED: dict[str, Written] = {
    "Japanese": Written(
        ("", "ISO 2022 IR 87"), b"Yamada^Tarou" + _YAMADA, "Yamada^Tarou=山田^太郎=やまだ^たろう"
    ),
    "Japanese in half width": Written(
        ("ISO 2022 IR 13", "ISO 2022 IR 87"),
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3" + _YAMADA.replace(b"\x1b(B", b"\x1b(J"),
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    "half width alone": Written(("ISO_IR 13",), b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    "kanji with delimiters inside": Written(
        # 3D, 5E and 5C are second octets here: of 化, of 笠 and 五, of 宮
        ("", "ISO 2022 IR 87"),
        b"A^B=\x1b$B2=3^\x1b(B^\x1b$B8^5\\\x1b(B",
        "A^B=化笠^五宮",
    ),
    "supplementary kanji": Written(
        ("", "ISO 2022 IR 87", "ISO 2022 IR 159"), b"A=\x1b$(D0!\x1b(B^\x1b$BB@\x1b(B", "A=丂^太"
    ),
    "Korean": Written(
        ("", "ISO 2022 IR 149"), b"Hong^Gildong" + _HONG, "Hong^Gildong=洪^吉洞=홍^길동"
    ),
    "Korean without escape sequences": Written(
        ("ISO 2022 IR 149",), b"Hong^Gildong=\xfb\xf3^\xd1\xce\xd4\xd7", "Hong^Gildong=洪^吉洞"
    ),
    "Chinese with code extensions": Written(
        ("", "ISO 2022 IR 58"),
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
        "Zhang^XiaoDong=张^小东",
    ),
    "GB18030": Written(
        ("GB18030",),
        b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab\x95\x32\x82\x36",
        "Wang^XiaoDong=王^小东𠀀",
    ),
    "GBK with a backslash inside": Written(
        ("GBK",), b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\x96\x7c\x95\x5c", "Wang^XiaoDong=王^小東昞"
    ),
    "Latin 1": Written(("ISO_IR 100",), b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    "Latin 2": Written(("ISO_IR 101",), b"Wa\xb3\xeasa^Lech", "Wałęsa^Lech"),
    "Latin 3": Written(("ISO_IR 109",), b"\xa6a\xb1^\xf8", "Ĥaħ^ĝ"),
    "Latin 4": Written(("ISO_IR 110",), b"K\xe0rlis^\xa9", "Kārlis^Š"),
    "Latin 5": Written(("ISO_IR 148",), b"\xc7avu\xfeo\xf0lu", "Çavuşoğlu"),
    "Latin 9": Written(("ISO_IR 203",), b"L\xbduf^\xa4", "Lœuf^€"),
    "two alphabets of one byte": Written(
        ("ISO 2022 IR 100", "ISO 2022 IR 144"),
        b"Dionysios=\x1b-L\xbb\xee\xda^\xe9=\xe9",
        "Dionysios=Люк^é=é",
    ),
    "Cyrillic": Written(("ISO_IR 144",), b"\xbb\xee\xdace\xdc\xd1yp\xd3", "Люкceмбypг"),
    "Greek": Written(("ISO_IR 126",), b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
    "Arabic": Written(("ISO_IR 127",), b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"),
    "Hebrew": Written(("ISO_IR 138",), b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"),
    "Thai": Written(("ISO_IR 166",), b"\xca\xc1\xaa\xd2\xc2^\xe4\xb7\xc2", "สมชาย^ไทย"),
    "UTF-8": Written(
        ("ISO_IR 192",), "Wang^XiaoDong=王^小東=𠮷".encode(), "Wang^XiaoDong=王^小東=𠮷"
    ),
    "a term misspelled": Written(("iso-ir 100",), b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
}
"""What the stated character set explains whole."""

MARKED: dict[str, Written] = {
    "default repertoire, octets outside": Written((), b"M\xfcller^J\xf6rg", "M�FCller^J�F6rg"),
    "an unknown term": Written(("ISO_IR 999",), b"M\xfcller", "M�FCller"),
    "Latin 1 declared as UTF-8": Written(("ISO_IR 192",), b"M\xfcller^J\xf6rg", "M�FCller^J�F6rg"),
    "Windows declared as Latin 1": Written(("ISO_IR 100",), b"O\x92Neil^Ren\xe9", "O�92Neil^René"),
    "kanji nowhere declared": Written((), b"A=\x1b$B;3\x1b(B", "A=�1B$B;3"),
    "Korean declared as Japanese": Written(
        ("", "ISO 2022 IR 87"), b"A=\x1b$)C\xfb\xf3", "A=�1B$)C�FB�F3"
    ),
    "UTF-8 behind a code extension": Written(
        ("", "ISO_IR 192"), "Wang=王".encode(), "Wang=�E7�8E�8B"
    ),
    "an escape sequence cut off": Written(("", "ISO 2022 IR 87"), b"A^B=\x1b$", "A^B=�1B$"),
    "a character of two cut off": Written(("", "ISO 2022 IR 87"), b"A=\x1b$B;3E", "A=山�45"),
    "a character of GB18030 cut off": Written(("GB18030",), b"A=\xcd\xf5\xd0", "A=王�D0"),
    "unassigned in Greek": Written(("ISO_IR 126",), b"\xc4\xff\xd2", "Δ�FF�D2"),
    "controls": Written(("ISO_IR 100",), b"A\x01B\x7f^C\x85", "A�01B�7F^C�85"),
}
"""What it does not: marks, and no other character set."""
