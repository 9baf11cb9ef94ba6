"""The shipped lexicons on prompts written by hand: a line a prompt, with the category it must get.

`None` means that the lexicons must abstain. The prompts are the kind people type into a chat box,
in many languages, with the traps on which keyword routers are known to fail.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from llmrouterd.classifier.lexicon import LexiconSet, build_lexicons, probabilities

RULES = Path(__file__).parent.parent / "rules"
ABSTAIN_LOGIT, TEMPERATURE, THRESHOLD = 2.0, 1.0, 0.45
FENCE = "`" * 3

Row = tuple[str, str | None, str]

ENGLISH: list[Row] = [
    ("en", "coding", "Write a Python function that merges two sorted lists"),
    ("en", "coding", "my pod is stuck in CrashLoopBackOff, what should I look at?"),
    ("en", "coding", "TypeError: 'NoneType' object is not subscriptable"),
    ("en", "coding", "kubectl get pods shows ImagePullBackOff"),
    ("en", "coding", "SELECT name FROM users WHERE id = 3; why is this slow?"),
    ("en", "coding", f"{FENCE}js\nconst x = [1,2].map(y => y * 2)\n{FENCE}\nwhat does this do"),
    ("en", "coding", "How do I undo my last git commit without losing changes?"),
    ("en", "coding", "Explain the difference between a mutex and a semaphore in C++"),
    ("en", "coding", "write a regex that matches an email address"),
    ("en", "coding", "refactor this class to use dependency injection"),
    ("en", "coding", "Translate this Java code to Python: int x = 5;"),
    ("en", "coding", "docker compose keeps saying permission denied on the volume"),
    ("en", "math", "Evaluate the integral of x^2 sin(x) dx"),
    ("en", "math", "prove sqrt 2 is irrational"),
    ("en", "math", "What is 15% of 240?"),
    ("en", "math", "Solve for x: 3x + 7 = 22"),
    ("en", "math", "∫ e^(-x^2) dx from -∞ to ∞"),
    ("en", "math", "A train travels 60 miles in 1.5 hours. What is its average speed?"),
    ("en", "math", "Tom has 12 apples and gives 5 to Ann. How many apples are left?"),
    ("en", "math", "Find the eigenvalues of the matrix [[2,1],[1,2]]"),
    ("en", "math", "what is 17 * 23"),
    ("en", "math", "how many ways can 8 people be seated in a row of 8 chairs"),
    (
        "en",
        "reasoning",
        "All bloops are razzies and all razzies are lazzies. Does it follow logically?",
    ),
    ("en", "reasoning", "Solve this riddle: what has keys but can't open locks?"),
    ("en", "reasoning", "Anna is taller than Ben. Ben is taller than Carl. Who is the shortest?"),
    ("en", "reasoning", "What would happen if the moon suddenly disappeared?"),
    (
        "en",
        "reasoning",
        "One guard always lies and one always tells the truth. Which door is safe?",
    ),
    ("en", "reasoning", "Which of the following most weakens the argument above?"),
    ("en", "reasoning", "Here is a logic puzzle about five houses and their owners"),
    ("en", "factual", "Who wrote Pride and Prejudice?"),
    ("en", "factual", "What is the capital of Australia?"),
    ("en", "factual", "When did World War II end?"),
    ("en", "factual", "How does photosynthesis work?"),
    ("en", "factual", "explain the biological consequence of sleep deprivation"),
    ("en", "factual", "What is the difference between a virus and a bacterium?"),
    ("en", "factual", "why is the sky blue"),
    ("en", "factual", "Which planet has the most moons?\nA) Earth\nB) Mars\nC) Saturn\nD) Venus"),
    ("en", "factual", "tell me about the history of the Ottoman Empire"),
    ("en", "creative", "Write a short story about a dragon who is afraid of fire"),
    ("en", "creative", "compose a haiku about autumn rain"),
    ("en", "creative", "write an email to my landlord about the broken heating"),
    ("en", "creative", "I need a catchy slogan for my bakery"),
    ("en", "creative", "Draft a LinkedIn post announcing my promotion"),
    ("en", "creative", "write a wedding toast for my best friend"),
    ("en", "creative", "Write a rap song about homework"),
    ("en", "creative", "Generate a product description for a bamboo toothbrush"),
    (
        "en",
        "summarization",
        "Summarize the following article in three sentences: The council met on Monday",
    ),
    ("en", "summarization", "tl;dr of this thread please"),
    ("en", "summarization", "Give me the key takeaways from this meeting transcript"),
    ("en", "translation", "Translate to German: I would like a coffee"),
    ("en", "translation", "how do you say good morning in Japanese"),
    ("en", "translation", "What is the French word for butterfly? Translate it please"),
    ("en", "rewriting", "Rewrite this sentence to sound more professional: gimme the report"),
    ("en", "rewriting", "Fix the grammar: he go to school yesterday"),
    ("en", "rewriting", "paraphrase the following paragraph"),
    ("en", "rewriting", "make this email more polite and concise"),
    ("en", "extraction", "Extract all the names and dates from the text below"),
    (
        "en",
        "extraction",
        "Classify the sentiment of this review as positive or negative: I loved it",
    ),
    ("en", "extraction", "Based on the passage, why did the captain leave the ship?"),
    ("en", "extraction", "Which category does this support ticket belong to? Choose one label"),
    ("en", "roleplay", "Act as a pirate captain and answer everything in pirate speak"),
    ("en", "roleplay", "You are now Sherlock Holmes. From now on stay in character."),
    ("en", "roleplay", "I want you to act as a job interviewer. My first sentence is hi"),
    ("en", "roleplay", "pretend you are my grandmother and tell me about your day"),
    ("en", "chat", "hi"),
    ("en", "chat", "Hello!"),
    ("en", "chat", "thanks a lot"),
    ("en", "chat", "how are you today?"),
    ("en", "chat", "who created you?"),
    ("en", "chat", "are you a real person"),
    ("en", "chat", "I'm so bored"),
    ("en", "chat", "continue"),
    ("en", "chat", "what's your favorite color?"),
    ("en", "advice", "Recommend a world class hotel in Lisbon"),
    ("en", "advice", "What should I cook for dinner with chicken and rice?"),
    ("en", "advice", "How can I sleep better at night?"),
    ("en", "advice", "plan a 3-day trip to Rome"),
    ("en", "advice", "give me some gift ideas for my dad"),
    ("en", "advice", "how to remove red wine stains from a carpet"),
    ("en", "advice", "Should I quit my job and go back to school?"),
    ("en", "advice", "recipe for banana bread"),
    ("en", "advice", "what are some tips for a first marathon"),
]

OTHERS: list[Row] = [
    ("de", "coding", "Schreib mir eine Funktion in Python, die eine Liste sortiert"),
    ("de", "translation", "Übersetze ins Englische: Ich habe Hunger"),
    ("de", "translation", "Was heißt Schmetterling auf Englisch?"),
    ("de", "summarization", "Fasse den folgenden Text kurz zusammen"),
    ("de", "creative", "Schreibe ein Gedicht über den Herbst"),
    ("de", "factual", "Was ist die Hauptstadt von Kanada?"),
    ("de", "advice", "Wie kann ich besser schlafen?"),
    ("de", "math", "Berechne die Ableitung von x^3"),
    ("de", "rewriting", "Korrigiere bitte die Rechtschreibung in diesem Satz"),
    ("de", "roleplay", "Du bist jetzt ein strenger Lehrer, spiel die Rolle"),
    ("de", "chat", "Wie geht es dir?"),
    ("de", "extraction", "Klassifiziere die Stimmung: positiv oder negativ?"),
    ("fr", "creative", "Écris un poème sur la mer"),
    ("fr", "creative", "ecris une histoire pour enfants"),
    ("fr", "translation", "Traduis cette phrase en anglais"),
    ("fr", "summarization", "Résume ce texte en trois phrases"),
    ("fr", "factual", "Quelle est la capitale de l'Australie ?"),
    ("fr", "advice", "Comment puis-je perdre du poids ?"),
    ("fr", "coding", "Corrige ce code Python s'il te plaît"),
    ("fr", "chat", "Bonjour, comment ça va ?"),
    ("fr", "rewriting", "Reformule cette phrase de façon plus formelle"),
    ("es", "factual", "¿Quién fue Simón Bolívar?"),
    ("es", "creative", "Escribe un cuento sobre un gato astronauta"),
    ("es", "translation", "Traduce al inglés: me gusta el verano"),
    ("es", "summarization", "Haz un resumen del siguiente artículo"),
    ("es", "advice", "Recomiéndame una receta de paella"),
    ("es", "coding", "Escribe una función en JavaScript que invierta una cadena"),
    ("es", "math", "Resuelve la ecuación 2x + 3 = 11"),
    ("es", "chat", "hola, ¿qué tal?"),
    ("it", "factual", "Chi ha dipinto la Gioconda?"),
    ("it", "creative", "Scrivi una poesia sulla luna"),
    ("it", "translation", "Traduci in inglese: buon compleanno"),
    ("it", "advice", "Consigliami un itinerario di tre giorni a Firenze"),
    ("it", "rewriting", "Riscrivi questa frase in modo più formale"),
    ("it", "chat", "Ciao, come stai?"),
    ("pt", "factual", "Quem foi Santos Dumont?"),
    ("pt", "creative", "Escreva um poema sobre saudade"),
    ("pt", "summarization", "Resuma o texto a seguir"),
    ("pt", "coding", "Crie uma função em Python que calcule o fatorial"),
    ("pt", "advice", "Me dê dicas para estudar melhor"),
    ("pt", "chat", "oi, tudo bem?"),
    ("nl", "factual", "Wie was Willem van Oranje?"),
    ("nl", "creative", "Schrijf een gedicht over de zee"),
    ("nl", "translation", "Vertaal naar het Engels: ik ben moe"),
    ("nl", "summarization", "Vat dit artikel samen"),
    ("nl", "advice", "Hoe kan ik beter slapen? Heb je tips?"),
    ("pl", "factual", "Kto napisał Pana Tadeusza?"),
    ("pl", "creative", "Napisz opowiadanie o smoku"),
    ("pl", "translation", "Przetłumacz na angielski: dzień dobry"),
    ("pl", "math", "Oblicz pochodną funkcji x^2"),
    ("pl", "chat", "cześć, co słychać?"),
    ("ru", "factual", "Кто написал «Войну и мир»?"),
    ("ru", "creative", "Напиши стихотворение про осень"),
    ("ru", "translation", "Переведи на английский: я люблю читать"),
    ("ru", "coding", "Напиши скрипт на Python для переименования файлов"),
    ("ru", "summarization", "Кратко перескажи этот текст"),
    ("ru", "advice", "Посоветуй хороший рецепт борща"),
    ("ru", "math", "Реши уравнение: x^2 - 5x + 6 = 0"),
    ("ru", "chat", "Привет, как дела?"),
    ("ru", "rewriting", "Перепиши этот текст в деловом стиле"),
    ("tr", "factual", "Türkiye'nin başkenti neresidir?"),
    ("tr", "creative", "Bahar hakkında bir şiir yaz"),
    ("tr", "translation", "Bunu İngilizceye çevir: günaydın"),
    ("tr", "summarization", "Bu metni özetle"),
    ("tr", "advice", "Bana iyi bir kitap önerir misin?"),
    ("tr", "chat", "Merhaba, nasılsın?"),
    ("zh", "coding", "用Python写一个函数，判断一个数是否为质数，给出代码"),
    ("zh", "translation", "把这句话翻译成英文：今天天气很好"),
    ("zh", "summarization", "请总结以下文章的主要内容"),
    ("zh", "creative", "写一首关于春天的诗"),
    ("zh", "factual", "光合作用是什么？"),
    ("zh", "advice", "给我推荐几个减肥的方法"),
    ("zh", "roleplay", "请你扮演一名面试官"),
    ("zh", "math", "求解方程 x^2 - 4 = 0"),
    ("zh", "rewriting", "请润色这段话，让它更流畅"),
    ("zh", "chat", "你好"),
    ("zh", "chat", "你是谁？"),
    ("ja", "translation", "次の文を英語に翻訳してください"),
    ("ja", "summarization", "この文章を要約してください"),
    ("ja", "creative", "桜についての詩を書いてください"),
    ("ja", "factual", "光合成とは何ですか？"),
    ("ja", "advice", "カレーの作り方を教えて。おすすめのレシピは？"),
    ("ja", "coding", "Pythonで配列をソートする関数を書いて"),
    ("ja", "chat", "こんにちは"),
    ("ko", "translation", "이 문장을 영어로 번역해 주세요"),
    ("ko", "summarization", "이 글을 요약해줘"),
    ("ko", "creative", "가을에 대한 시를 써줘"),
    ("ko", "factual", "대한민국의 수도는 어디인가요?"),
    ("ko", "advice", "좋은 책을 추천해줘"),
    ("ko", "chat", "안녕하세요"),
    ("ar", "translation", "ترجم هذه الجملة إلى الإنجليزية"),
    ("ar", "summarization", "لخص النص التالي"),
    ("ar", "creative", "اكتب قصيدة عن البحر"),
    ("ar", "factual", "ما هي عاصمة فرنسا؟"),
    ("ar", "advice", "كيف يمكنني تعلم الطبخ؟ أعطني نصائح"),
    ("ar", "chat", "مرحبا، كيف حالك"),
    ("hi", "translation", "इस वाक्य का अंग्रेजी में अनुवाद करो"),
    ("hi", "creative", "बारिश पर एक कविता लिखो"),
    ("hi", "factual", "भारत की राजधानी क्या है?"),
    ("hi", "summarization", "इस लेख का सारांश दो"),
    ("hi", "chat", "नमस्ते"),
    ("id", "translation", "Terjemahkan ke bahasa Inggris: selamat pagi"),
    ("id", "creative", "Buatkan puisi tentang hujan"),
    ("id", "factual", "Apa itu fotosintesis?"),
    ("id", "advice", "Bagaimana cara menurunkan berat badan?"),
    ("id", "chat", "apa kabar?"),
    ("vi", "translation", "Dịch sang tiếng Anh: tôi đói bụng"),
    ("vi", "creative", "Viết một bài thơ về mùa thu"),
    ("vi", "factual", "Thủ đô của Nhật Bản là gì?"),
    ("vi", "summarization", "Tóm tắt đoạn văn sau"),
    ("vi", "chat", "xin chào"),
    ("uk", "translation", "Переклади англійською: доброго ранку"),
    ("th", "translation", "แปลเป็นภาษาอังกฤษ"),
    ("sv", "translation", "Översätt till engelska: jag är hungrig"),
]

ABSTAINS: list[Row] = [
    ("en", None, "let me know when the therapist calls back"),
    ("en", None, "the world class hotel was fully booked"),
    ("en", None, "my business class seat was broken"),
    ("en", None, "proof of address"),
    ("en", None, "the dress code was smart casual"),
    ("en", None, "Our code of conduct is on the wall"),
    ("en", None, "asdf qwer zxcv"),
    ("en", None, "the one we discussed yesterday"),
    ("en", None, "42"),
    ("en", None, "blue"),
    ("de", None, "Das Fenster im Bad"),
    ("es", None, "la ventana de la cocina"),
    ("zh", None, "窗户旁边的桌子"),
    ("ru", None, "красный автобус"),
    ("en", None, ""),
    ("en", None, "   \n "),
]

ROWS = ENGLISH + OTHERS + ABSTAINS

# What a category must not get from a text that only looks like it.
TRAPS = [
    ("coding", "let me know if you found a therapist for my sister"),
    ("coding", "a world class hotel with a pool"),
    ("coding", "What is the dress code for the opera?"),
    ("coding", "my first class ticket and the zip code of the hotel"),
    ("coding", "the function of the liver"),
    ("reasoning", "the biological consequence of smoking"),
    ("math", "I need a proof of address for the bank"),
    ("math", "she is an integral part of the team"),
    ("translation", "Translate this Python code to Rust"),
    ("summarization", "Help me with my resume for a nursing job"),
    ("extraction", "how much vanilla extract goes into the cake"),
    ("roleplay", "You are given an array of integers"),
]


@pytest.fixture(scope="module")
def lexicons() -> LexiconSet:
    return build_lexicons(
        {path.stem: yaml.safe_load(path.read_bytes()) for path in sorted(RULES.glob("*.yaml"))}
    )


def chosen(lexicons: LexiconSet, text: str) -> str | None:
    shares, silent = probabilities(
        lexicons.match(text), prior={}, abstain_logit=ABSTAIN_LOGIT, temperature=TEMPERATURE
    )
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] * (1 - silent) >= THRESHOLD else None


@pytest.mark.parametrize(("language", "expected", "text"), ROWS, ids=[row[2][:40] for row in ROWS])
def test_prompt(lexicons: LexiconSet, language: str, expected: str | None, text: str) -> None:
    assert chosen(lexicons, text) == expected, lexicons.match(text).hits[:8]


@pytest.mark.parametrize(("category", "text"), TRAPS)
def test_trap(lexicons: LexiconSet, category: str, text: str) -> None:
    assert dict(lexicons.match(text).totals)[category] <= 1.0


def test_table_is_broad() -> None:
    assert len(ROWS) >= 150
    assert len({row[0] for row in ROWS}) >= 15
    assert len(set(ROWS)) == len(ROWS)
    counts = Counter(row[1] for row in ROWS)
    assert len(counts) == 13
    assert min(counts.values()) >= 5
