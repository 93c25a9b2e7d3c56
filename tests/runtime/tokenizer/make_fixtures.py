#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes fixtures/ with Hugging Face's libraries: lines of text, two small tokenizers trained on
them, and the ids that the library gives for every line and conversation.

usage: make_fixtures.py SMOLLM2.gguf    (needs tokenizers, transformers, torch, gguf)
"""

import json
import pathlib
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers import trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

OUT = pathlib.Path(__file__).parent / "fixtures"
DIGITS64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
LLAMA3_REGEX = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
                r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

# Everyday sentences, written for this file.
SENTENCES = """
The river was quiet, and nobody on the bridge said a word.
She hadn't slept; they'd left at 4:30 and we're still waiting, aren't we?
I'LL SAY IT ONCE: DON'T, CAN'T, WON'T, YOU'VE, HE'S, I'M, SHE'D.
Le café était fermé, alors nous avons marché jusqu'à la forêt près de l'église.
Größere Äpfel kosten übrigens mehr, sagte der Bäcker auf der Straße.
¿Dónde está el niño? Mañana volverá con su señora, ¡qué alegría!
À noite, o coração não dorme; amanhã será outra questão.
Zażółć gęślą jaźń, a potem idź spać, bo jest już późno.
Příliš mnoho koní běželo přes žlutou louku u řeky.
Bugün hava çok güzel, ışık gölün üstünde parlıyor.
Đêm nay trời mưa, tôi ở nhà đọc sách và uống trà nóng.
Sjöar och öar är vackra på våren, tycker jag.
Сегодня утром поезд опоздал на двадцать минут, и никто не удивился.
Ще не пізно зварити борщ, якщо знайдеться буряк і їжа.
Днес времето е хубаво, а децата играят навън.
Το καράβι έφυγε νωρίς το πρωί και ο ήλιος έλαμπε.
Ο γάτος κοιμάται πάνω στο παλιό βιβλίο.
今天早上下雨了，我们在家里喝茶、看书。
請問最近的車站在哪裡？謝謝您的幫忙！
昨日は友だちと海へ行って、アイスクリームを食べました。
このコンピューターは古いですが、まだ動きます。
오늘 아침에는 눈이 와서 길이 아주 미끄러웠어요.
우리는 내일 할머니 댁에 가기로 했습니다.
ذهبنا أمس إلى السوق واشترينا خبزًا وزيتونًا وبعض التمر.
هذا الكتابُ جَمِيلٌ جدًّا، أليس كذلك؟
امروز هوا سرد است و می‌خواهم در خانه بمانم.
הילדים שיחקו בגן עד שירד הערב ואמא קראה להם.
שָׁלוֹם לְכֻלָּם, מַה נִּשְׁמַע הַיּוֹם?
วันนี้อากาศร้อนมาก เราจึงไปว่ายน้ำที่ทะเล
แมวนอนอยู่บนหลังคาบ้านตั้งแต่เช้า
आज बाज़ार में बहुत भीड़ थी और हमें सब्ज़ियाँ नहीं मिलीं।
बच्चे स्कूल से लौटकर क्रिकेट खेलने चले गए।
আজ সকালে বৃষ্টি হয়েছে, তাই মাঠে কেউ নেই।
இன்று காலை மழை பெய்ததால் நாங்கள் வீட்டிலேயே இருந்தோம்.
ఈ రోజు వాతావరణం చాలా బాగుంది.
ഇന്ന് ഞങ്ങൾ കടൽത്തീരത്ത് പോയി.
ਅੱਜ ਮੌਸਮ ਬਹੁਤ ਸੋਹਣਾ ਹੈ।
આજે બપોરે અમે કેરી ખાધી.
අද අපි ගමේ ගියා.
დღეს მზიანი ამინდია და ბაღში ვსხედვართ։
Այսօր արևոտ է, և մենք քայլում ենք այգում։
ዛሬ ጠዋት ቡና ጠጥተን ወደ ገበያ ሄድን።
ယနေ့ မိုးရွာနေသည်။
ថ្ងៃនេះមេឃស្រឡះ។
ມື້ນີ້ຝົນຕົກໜັກ.
Өнөөдөр салхитай байна, бид гэртээ үлдлээ.
དེ་རིང་གནམ་གཤིས་ཡག་པོ་འདུག
""".strip().split("\n")

CODE = r"""
for (int i = 0; i < n; ++i) { sum += a[i] * b[i]; }
def area(radius): return 3.14159 * radius ** 2  # circle
if __name__ == "__main__":\n    main(sys.argv[1:])
SELECT name, COUNT(*) FROM visits WHERE day >= '2024-07-01' GROUP BY name;
<div class="card"><a href="https://example.org/?q=1&amp;r=2">link</a></div>
template <typename T> T&& forward(std::remove_reference_t<T>& t) noexcept;
git commit -m "fix: don't crash on empty input (#1234)" && git push
\t\treturn x != null ? x->y : -1;\n\t}\n}\n
{"id": 17, "tags": ["a", "b"], "ok": true, "price": 12.50}
printf("%08lx: %s\n", (unsigned long)address, name);
let total = xs.iter().map(|x| x * 2).filter(|&x| x > 10).sum::<i64>();
$ curl -sS http://127.0.0.1:8080/v1/items | jq '.[] | .id'
\\frac{a^2 + b^2}{2ab} \\leq \\sqrt{\\alpha_{i+1}}
""".strip().split("\n")

EMOJI = ["😀", "🎉", "👩‍💻", "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇫🇷🇯🇵", "❤️", "☃", "1️⃣", "🧑🏿‍🚀", "🫠", "✨✨"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n", "\n ", "    ", "\u00a0", "\u3000",
          "\u2003", "\u2028", "\u0085", "\u180e", "\u200b", "\ufeff", "\v", "\f", "\u202f", " \t \n  "]
NUMBERS = ["0", "7", "42", "123", "1234", "12345678", "3.14159", "1,000,000", "２０２４", "٣٤٥", "४२",
           "½", "Ⅷ", "x²", "①②③", "1e-9", "0xDEADBEEF", "千二百", "𝟘𝟙𝟚", "൧൨"]
CONTRACTIONS = ["'s", "'S", "'T", "'re", "'RE", "'Ve", "'m", "'LL", "'d", "'ſ", "’s", "'x", "''s"]
PUNCTUATION = ["!", "?!", "...", "…", "--", "—", "(", ")", "[x]", "{}", "/*", "*/", "://", "@", "#",
               "$", "€", "«", "»", "„", "“", "。", "、", "؟", "।", "<|", "|>", "\\", "^_^", "~~~"]
MARKS = ["e\u0301", "a\u0308\u0323", "q\u0307\u0323", "\u0301x", "n\u0303o", "Z\u0351\u0352\u0353algo",
         "\u1100\u1161\u11a8", "ㅋㅋㅋ", "\u064b\u0651", "ก\u0e49", "क\u094d\u0937"]
CONTROL = ["\x00", "\x01", "\x07", "\x08", "\x1b[0m", "\x1c", "\x1f", "\x7f", "\x80", "\x9f", "\ufffd",
           "\ue000", "\U000f0000", "\U0010ffff", "\ufffe", "\u0378"]


def random_char(rng):
    """Any scalar value, the assigned planes more often."""
    top = rng.choice([0x80, 0x250, 0x3000, 0x3000, 0xA000, 0x10000, 0x1FFFF, 0x33500, 0x110000])
    while True:
        code = rng.randrange(top)
        if not 0xD800 <= code < 0xE000:
            return chr(code)


def make_lines():
    rng = random.Random(20240726)
    lines = ["", " ", "a", "\n", " a", "a ", "  a", "a  b", "\n\na", "a\n\n b", "'", "'s", " 's"]
    lines += SENTENCES + CODE + EMOJI + NUMBERS + CONTRACTIONS + MARKS + CONTROL
    lines += SPACES + [s + "x" for s in SPACES] + ["x" + s + "1" for s in SPACES]
    lines += ["word" + c + " next" for c in CONTRACTIONS]
    words = [w for s in SENTENCES for w in s.split()]
    pools = [words, words, words, CODE, EMOJI, SPACES, NUMBERS, CONTRACTIONS, PUNCTUATION, MARKS,
             CONTROL]
    while len(lines) < 1500:  # several kinds side by side
        parts = []
        for _ in range(rng.randint(1, 7)):
            part = rng.choice(rng.choice(pools))
            parts.append(part if len(part) < 24 else part[:rng.randint(4, 20)])
            parts.append(rng.choice(["", " ", " ", "", rng.choice(SPACES)]))
        lines.append("".join(parts))
    while len(lines) < 1800:  # any characters at all
        lines.append("".join(random_char(rng) for _ in range(rng.randint(1, 12))))
    while len(lines) < 2000:  # ordinary prose in one language
        lines.append(" ".join(rng.choice(words) for _ in range(rng.randint(2, 7))))
    # Runs beyond every short cut of an implementation.
    for unit in ["a", " ", "ab", "9", "é", "漢", "-", "\n", "\t ", "the", "ก", "\u0301", "👍", "xyz1"]:
        lines += [unit * 45, "b" + unit * 101 + "c"]
    return lines


def line_ids(tokenizer, lines):
    return [tokenizer.encode(line, add_special_tokens=False).ids for line in lines]


def write_ids(name, all_ids, vocab_size):
    """A line per line; `width` digits of base 64 per id, the highest first."""
    width = 2 if vocab_size <= 64**2 else 3
    with open(OUT / name, "w", encoding="ascii") as f:
        for ids in all_ids:
            f.write("".join(DIGITS64[i >> 6 * d & 63] for i in ids for d in range(width - 1, -1, -1)))
            f.write("\n")


def train(pre_tokenizer, special, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, special_tokens=special,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    corpus = SENTENCES + [s for s in SENTENCES if s.isascii()] * 3 + CODE * 2 + ["    " * 4, "   x"]
    tokenizer.train_from_iterator(corpus * 2, trainer)
    return tokenizer


def dump(data):
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def smol_like():
    """As SmolLM2: digits alone, then GPT-2's words; one byte is missing from the vocabulary."""
    pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer = train(pre, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], 1300)
    # U+0107 stands for byte 0x07. SmolLM2 lacks some control bytes too.
    data = json.loads(tokenizer.to_str())
    removed = data["model"]["vocab"].pop("\u0107")
    data["model"]["vocab"] = {t: i - (i > removed) for t, i in data["model"]["vocab"].items()}
    tokenizer = Tokenizer.from_str(dump(data))
    tokenizer.add_tokens([AddedToken("<tool>", special=False, normalized=False),
                          AddedToken("<tool>s", special=False, normalized=False),
                          AddedToken("<tool>s now", special=False, normalized=True),
                          AddedToken("<mask>", special=False, normalized=False, lstrip=True),
                          AddedToken("<sep>", special=False, normalized=False, rstrip=True)])
    return tokenizer


def llama_like():
    """As Llama 3: its expression, merges ignored for whole words, BOS by template."""
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3_REGEX), "isolated"),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    data = json.loads(train(pre, [], 1300).to_str())
    data["model"]["ignore_merges"] = True
    for word in ["unmergeable", "\u0120nobodies", "\u00e6\u00bc\u00a2"]:  # the last is U+6F22
        data["model"]["vocab"][word] = len(data["model"]["vocab"])  # no merge leads here
    tokenizer = Tokenizer.from_str(dump(data))
    names = ["begin_of_text", "end_of_text", "start_header_id", "end_header_id", "eom_id", "eot_id"]
    tokenizer.add_special_tokens([AddedToken(f"<|{n}|>", normalized=False) for n in names])
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A $B",
                                      special_tokens=[("<|begin_of_text|>", bos)])])
    return tokenizer


def smollm2(gguf):
    """The model's own tokenizer. The conversion leaves out its first step, Digits."""
    path = pathlib.Path(gguf)
    auto = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    auto.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True),
         pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return auto


CHATML = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
          "{{ '<|im_start|>system\nYou weigh words, and dates like 1999.<|im_end|>\n' }}{% endif %}"
          "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
CHATML_BARE = ("{%- for message in messages %}\n"
               "    {{- '<|im_start|>' + message.role + '\\n' + message.content }}<|im_end|>\n"
               "{% endfor %}\n"
               "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}")
LLAMA3_TURN = ("'<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
               " + message['content'] | trim + '<|eot_id|>'")
LLAMA3_ASSISTANT = ("{% if add_generation_prompt %}"
                    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}")
LLAMA3 = ("{% set loop_messages = messages %}{% for message in loop_messages %}"
          "{% set content = " + LLAMA3_TURN + " %}{% if loop.index0 == 0 %}"
          "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}" +
          LLAMA3_ASSISTANT)
# With the dated preamble of Llama 3.1.
LLAMA31 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}

{#- The first message may be the system's. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- """ + LLAMA3_TURN + """ }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""


def conversations():
    def chat(*turns):
        return [{"role": role, "content": content} for role, content in turns]

    rng = random.Random(7)
    out = [chat(("user", "Hi")), chat(("user", "")), chat(("user", "   ")),
           chat(("user", "  two leading, one trailing ")), chat(("user", "\n\nnewlines\n")),
           chat(("user", "\u00a0\x1c\u3000odd spaces\u2003\x1f\u200b")), chat(("user", "\ufeffx\t")),
           chat(("system", "Be brief."), ("user", "Why 42?")),
           chat(("system", "  padded  "), ("user", " padded too\n")),
           chat(("system", ""), ("user", "empty system")),
           chat(("user", "a"), ("assistant", "b"), ("user", "c")),
           chat(("user", "a"), ("system", "late"), ("user", "c")),
           chat(("assistant", "I begin."), ("user", "\n'S fine")),
           chat(("system", "only"))]
    while len(out) < 24:
        turns = [("system", rng.choice(SENTENCES))] if rng.random() < 0.4 else []
        for _ in range(rng.randint(1, 4)):
            turns += [("user", rng.choice(SENTENCES + CODE)), ("assistant", rng.choice(SENTENCES))]
        out.append(chat(*turns[:-1]))
    return out


def chat_case(name, fast, template, chats):
    if template:
        fast.chat_template = template
    ids = [fast.apply_chat_template(c, tokenize=True, add_generation_prompt=True, return_dict=False)
           for c in chats]
    return {"tokenizer": name, "template": template or "", "ids": ids}


def main():
    OUT.mkdir(exist_ok=True)
    lines = make_lines()
    with open(OUT / "lines.txt", "w", encoding="ascii") as f:
        f.writelines(json.dumps(line) + "\n" for line in lines)
    smol, llama, real = smol_like(), llama_like(), smollm2(sys.argv[1])
    for name, tokenizer in [("smol_like", smol), ("llama_like", llama)]:
        (OUT / f"{name}.json").write_text(tokenizer.to_str() + "\n", encoding="utf-8")
        write_ids(f"{name}.ids", line_ids(tokenizer, lines), tokenizer.get_vocab_size())
    write_ids("smollm2.ids", line_ids(real.backend_tokenizer, lines), len(real))

    added = [" x <mask>y", "a<sep>  b", "<tool>s now <tool> s", "<|im_end|><|im_end|x|>",
             "<mask><sep> <mask>", "\u3000<mask>\u00a0", "<tool>s  now<tool>"]
    fast_smol = PreTrainedTokenizerFast(tokenizer_object=smol)
    fast_llama = PreTrainedTokenizerFast(tokenizer_object=llama, bos_token="<|begin_of_text|>")
    chats = conversations()
    cases = {
        "conversations": chats,
        "chat": [chat_case("smol_like", fast_smol, CHATML, chats),
                 chat_case("smol_like", fast_smol, CHATML_BARE, chats),
                 chat_case("llama_like", fast_llama, LLAMA3, chats),
                 chat_case("llama_like", fast_llama, LLAMA31, chats),
                 chat_case("smollm2", real, None, chats)],
        "added": {"texts": added, "ids": line_ids(smol, added)},
    }
    with open(OUT / "cases.json", "w", encoding="ascii") as f:
        json.dump(cases, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
