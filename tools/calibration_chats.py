"""Chats for tools/make_calibration.py: questions, thoughts, answers and tool calls."""
import json

import calibration_code
from calibration_engine import HE, I, SHE, articles, sentences

NUMBERS = "one two three four five six seven eight nine ten eleven twelve".split()
SOUNDS = {"dog": "woof", "cat": "meow", "cow": "moo", "duck": "quack", "owl": "hoot", "sheep": "baa", "frog": "croak",
          "horse": "neigh"}
CAPITALS = [pair.split("-") for pair in """
London-England Paris-France Berlin-Germany Rome-Italy Madrid-Spain Lisbon-Portugal Brussels-Belgium Copenhagen-Denmark
Oslo-Norway Stockholm-Sweden Helsinki-Finland Warsaw-Poland Vienna-Austria Athens-Greece Cairo-Egypt Tokyo-Japan
Beijing-China Ottawa-Canada Lima-Peru Dublin-Ireland Budapest-Hungary Havana-Cuba""".split()]
SNIPPETS = [
    ("a function that returns the largest number in a list", """def largest(items):
    best = items[0]
    for x in items:
        if x > best:
            best = x
    return best"""),
    ("a function that counts the words in a text", "def count_words(text):\n    return len(text.split())"),
    ("a function that multiplies two numbers", "def multiply(a, b):\n    return a * b"),
    ("a function that adds two numbers", "def add(a, b):\n    return a + b"),
    ("a loop that prints the numbers from 0 to 14", "for i in range(15):\n    print(i)"),
]
TOOLS = [("get_weather", "Look up the weather in a city.", {"city": "string"}),
         ("add", "Add two numbers.", {"a": "integer", "b": "integer"}),
         ("find_book", "Find a book by its title.", {"title": "string"}),
         ("set_timer", "Start a timer.", {"minutes": "integer"}),
         ("send_mail", "Send a message.", {"to": "string", "subject": "string"}),
         ("search", "Search the web.", {"query": "string"}),
         ("convert", "Convert money.", {"amount": "number", "currency": "string"})]


def capital(doc, name):
    city, land = doc.rng.choice(CAPITALS)
    return doc.rng.choice([
        (f"What is the capital of {land}?", f"The user asks for the capital of {land}. It is {city}.",
         f"The capital of {land} is {city}."),
        (f"{city} is the capital of which country?", f"{city} is in {land}.", f"{city} is the capital of {land}."),
        (f"Which city is the capital of {land}?", f"{land}: {city}.", f"The capital of {land} is {city}.")])


def total(doc, name):
    r = doc.rng
    a, b = r.randint(1, 99), r.randint(1, 99)
    op, c = r.choice([("+", a + b), ("+", a + b), ("-", a - b), ("*", a * b)])
    return f"What is {a} {op} {b}?", f"{a} {op} {b} = {c}.", f"{a} {op} {b} = {c}."


def count(doc, name):
    a = doc.rng.randrange(6)
    b = a + doc.rng.randint(2, 6)
    first, last = NUMBERS[a], NUMBERS[b]
    return f"Count from {first} to {last}.", f"I count from {first} to {last}.", ", ".join(NUMBERS[a:b + 1])


def sound(doc, name):
    animal, noise = doc.rng.choice(sorted(SOUNDS.items()))
    says = articles(f"A {animal} says {noise}.")
    return articles(f"What sound does a {animal} make?"), says, says


def as_json(doc, name):
    age, city = doc.rng.randint(5, 90), doc.rng.choice(CAPITALS)[0]
    return (f"{name} is {age} years old and lives in {city}. Answer in JSON with name, age and city.",
            "The answer must be JSON.", json.dumps({"name": name, "age": age, "city": city}))


def password(doc, name):
    words = " ".join(doc.get(x) for x in ("animal", "colour", "adj"))
    return (f"The password is {words}. Remember it. {sentences(doc, 1, 5)} What is the password?",
            f"The user told me the password: {words}.", f"The password is {words}.")


def repeat(doc, name):
    words = " ".join(doc.get(x) for x in doc.rng.choices(["animal", "thing", "male", "adj", "place"], k=3))
    return f"Repeat after me: {words}", "", words


def story(doc, name):
    doc.memory.clear()
    told = doc.get("tinytale")
    if doc.rng.random() < 0.5:
        told = doc.fill("Once upon a time, <tinyname#1> the <animal#1> lived in a <adj> <place>. ") + sentences(doc, 2, 6)
    return (doc.fill("Write a short story about a <animal#1>."),
            doc.fill("A short story about a <animal#1>. I will call it <tinyname#1>."), told)


def program(doc, name):
    kind = doc.rng.choice(calibration_code.KINDS[:6])
    label, text = getattr(calibration_code.Code(doc), kind)()
    return doc.fill(f"Write a function that [<vt.s>|counts|finds] the <noun.s> in {kind}."), "", f"```{label}\n{text}\n```"


def snippet(doc, name):
    task, text = doc.rng.choice(SNIPPETS)
    end = doc.rng.randint(3, 30)
    return (f"Write {task} in Python.".replace("14", str(end)), "",
            f"```python\n{text}\n```".replace("15", str(end + 1)))


def explain(doc, name):
    return doc.get("chatexplain"), doc.get("chatthought"), sentences(doc, 2, 7, "essay")


def steps(doc, name):
    lines = "\n".join(f"{i}. {doc.get('manual')}" for i in range(1, doc.rng.randint(4, 8)))
    return doc.get("chathow"), doc.fill("I need a list of steps to <vt> <np>."), f"**{doc.get('title')}**\n\n{lines}"


def summary(doc, name):
    return (f"Summarize: {sentences(doc, 3, 8, 'fact')}", "The text is long; two sentences will do.",
            sentences(doc, 1, 2, "fact"))


def greeting(doc, name):
    return (doc.fill("[Hello!|Hello!|Good morning.] Who are you?"), f"My name is {name}.",
            f"Hello! I am {name}, a friendly helper.")


EXCHANGES = [capital, capital, total, total, count, sound, as_json, password, repeat, story, program, snippet, explain, steps,
             summary, greeting]


def exchange(doc):
    """A question, a thought and an answer."""
    name = doc.get(doc.rng.choice(["male", "female", "tinyname"]))
    return doc.rng.choice(EXCHANGES)(doc, name)


def schema(tool):
    name, what, arguments = tool
    return {"type": "function", "function": {"name": name, "description": what, "parameters": {
        "type": "object", "properties": {k: {"type": t} for k, t in arguments.items()}, "required": list(arguments)}}}


def call(doc):
    """A tool, a request for it, its arguments, its result and the answer."""
    r = doc.rng
    tool = r.choice(TOOLS[:3] + TOOLS)
    city = r.choice(CAPITALS)[0]
    a, b = r.randint(1, 999), r.randint(1, 99)
    title, fact, to = doc.get("title"), doc.get("fact"), calibration_code.address(doc)
    sky = r.choice(["sunny", "rainy", "cloudy", "windy", "snowy", "foggy"])
    return tool, *{
        "get_weather": (f"What is the weather in {city}?", {"city": city}, {"weather": sky, "degrees": b - 10},
                        f"It is {sky} in {city}, at {b - 10} degrees."),
        "add": (f"Please add {a} and {b}.", {"a": a, "b": b}, {"sum": a + b}, f"The sum is {a + b}."),
        "find_book": (f"Find the book {title}.", {"title": title}, {"title": title, "year": 1800 + b},
                      f"{title} was published in {1800 + b}."),
        "set_timer": (f"Wake me in {b} minutes.", {"minutes": b}, {"ok": True}, f"The timer is set to {b} minutes."),
        "send_mail": (f"Write to {to} about {title}.", {"to": to, "subject": title}, {"sent": True}, "The message is sent."),
        "search": (f"Search for {title}.", {"query": title}, [{"url": to, "text": fact}], fact),
        "convert": (f"How much is {a} dollars?", {"amount": a, "currency": "EUR"}, {"value": round(a * 0.9, 2)},
                    f"About {a * 0.9:.2f} euros."),
    }[tool[0]]


def tools_text(tools):
    listed = "\n".join(json.dumps(schema(t)) for t in tools)
    return f"# Tools\n\nYou can call these functions:\n\n<tools>\n{listed}\n</tools>\n\n" \
        "To call one, answer with a <tool_call> block."


def turn(role, text):
    return f"<|im_start|>{role}\n{text}<|im_end|>\n"


def answer_turn(thought, text):
    return turn("assistant", f"<think>\n{thought}\n</think>\n\n{text}")


def short_chat(doc):
    """One to three exchanges, or a tool call, as text with the control tokens of the model family."""
    r = doc.rng
    if r.random() < 0.25:
        tool, request, arguments, result, answer = call(doc)
        tools = r.sample([t for t in TOOLS if t != tool], r.randint(0, 3)) + [tool]
        body = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in arguments.items())
        return "".join([
            turn("system", tools_text(tools)), turn("user", request),
            answer_turn(r.choice(["", f"I should call {tool[0]}."]),
                        f"<tool_call>\n<function={tool[0]}>\n{body}</function>\n</tool_call>"),
            turn("user", f"<tool_response>\n{json.dumps(result)}\n</tool_response>"), answer_turn("", answer)])
    parts = [turn("system", doc.get("chatsystem"))] if r.random() < 0.3 else []
    for _ in range(r.choice([1, 1, 1, 2, 3])):
        question, thought, answer = exchange(doc)
        parts += [turn("user", question), answer_turn(thought if r.random() < 0.5 else "", answer)]
    return "".join(parts)


def long_chat(doc, full):
    """Messages of many exchanges, until full(messages)."""
    r = doc.rng
    messages = []
    tools = r.random() < 0.4
    if tools:
        messages.append({"role": "system", "content": f"{tools_text(TOOLS)}\n\n{doc.get('chatsystem')}"})
    elif r.random() < 0.6:
        messages.append({"role": "system", "content": doc.get("chatsystem")})
    while len(messages) < 5 or not full(messages):
        doc.about(r.choice([HE, SHE, I]))
        if tools and r.random() < 0.6:
            tool, request, arguments, result, answer = call(doc)
            function = {"type": "function", "function": {"name": tool[0], "arguments": arguments}}
            messages += [{"role": "user", "content": request},
                         {"role": "assistant", "content": "", "reasoning_content": f"I should call {tool[0]}.",
                          "tool_calls": [function]},
                         {"role": "tool", "content": json.dumps(result)}, {"role": "assistant", "content": answer}]
        else:
            question, thought, answer = exchange(doc)
            messages += [{"role": "user", "content": question},
                         {"role": "assistant", "content": answer, "reasoning_content": thought}]
    return messages
