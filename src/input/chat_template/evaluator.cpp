#include "input/chat_template/evaluator.h"

#include <algorithm>

#include "input/chat_template/template.h"

namespace octet::chat_template {

struct Evaluator::DepthGuard {
  Evaluator& e;
  explicit DepthGuard(Evaluator& evaluator) : e(evaluator) {
    if (++e.depth_ > e.limits_.max_depth) {
      --e.depth_;
      e.bad("nested more than {} deep", e.limits_.max_depth);
    }
  }
  ~DepthGuard() { --e.depth_; }
};

namespace {

// Puts a frame in place and the old one back.
struct FrameGuard {
  std::shared_ptr<Frame>& slot;
  std::shared_ptr<Frame> saved;
  FrameGuard(std::shared_ptr<Frame>& s, std::shared_ptr<Frame> frame)
      : slot(s), saved(std::exchange(s, std::move(frame))) {}
  ~FrameGuard() { slot = std::move(saved); }
};

Value function(std::string name, std::function<Value(Evaluator&, const Arguments&)> f) {
  return Value(Callable{
      std::move(name),
      std::make_shared<const std::function<Value(Evaluator&, const Arguments&)>>(std::move(f)),
      nullptr});
}

constexpr Integer kMaxRange = 100000;  // the sandbox's own limit

Value range(Evaluator& e, const Arguments& a) {
  Integer n[3] = {0, 0, 1};
  if (a.positional.empty() || a.positional.size() > 3) e.bad("range takes 1 to 3 numbers");
  for (std::size_t i = 0; i < a.positional.size(); ++i)
    if (!a.positional[i].to_integer(n[i]))
      e.bad("range: `{}` is no whole number", a.positional[i].type_name());
  if (a.positional.size() == 1) std::swap(n[0], n[1]);
  if (n[2] == 0) e.bad("range: the step is 0");
  const Integer span = n[2] > 0 ? n[1] - n[0] : n[0] - n[1];
  const Integer step = n[2] > 0 ? n[2] : -n[2];
  const Integer count = span > 0 ? (span + step - 1) / step : 0;
  if (count > kMaxRange) e.bad("range: more than {} numbers", static_cast<int>(kMaxRange));
  List list;
  for (Integer i = 0; i < count; ++i) list.push_back(Value::integer(n[0] + i * n[2]));
  e.spend(static_cast<std::int64_t>(count));
  return Value::list(std::move(list));
}

Value make_namespace(Evaluator& e, const Arguments& a) {
  auto fields = std::make_shared<Dict>();
  for (const Value& v : a.positional) {
    if (!v.as_dict()) e.bad("namespace takes mappings and named values");
    fields->insert(fields->end(), v.as_dict()->begin(), v.as_dict()->end());
  }
  for (const auto& [name, value] : a.named) fields->emplace_back(Value::text(Text(name)), value);
  return Value(Namespace{std::move(fields)});
}

Value make_dict(Evaluator& e, const Arguments& a) {
  const Value ns = make_namespace(e, a);
  return Value::dict(*ns.as_namespace()->fields);
}

Value strftime_now(Evaluator& e, const Arguments& a) {
  if (a.positional.size() != 1 || !a.positional[0].as_text()) e.bad("strftime_now takes a format");
  const std::time_t now = e.now();
  std::tm local{};
  localtime_r(&now, &local);
  char buffer[1024];
  const std::size_t n =
      std::strftime(buffer, sizeof buffer, a.positional[0].as_text()->str().c_str(), &local);
  return Value::text(Text(std::string_view(buffer, n)));
}

}  // namespace

void Evaluator::define_globals(Frame& frame) {
  frame.names["range"] = function("range", range);
  frame.names["namespace"] = function("namespace", make_namespace);
  frame.names["dict"] = function("dict", make_dict);
  frame.names["strftime_now"] = function("strftime_now", strftime_now);
  frame.names["raise_exception"] =
      function("raise_exception", [](Evaluator& e, const Arguments& a) -> Value {
        throw TemplateRaised(e.template_name(),
                             a.positional.empty() ? "" : a.positional[0].to_text().str());
      });
}

Text Evaluator::render(const Block& block, const json::object& context) {
  auto globals = std::make_shared<Frame>();
  define_globals(*globals);
  auto variables = std::make_shared<Frame>();
  variables->outer = globals;
  for (const auto& [key, value] : context)
    variables->names[std::string(key)] = Value::from_json(value);
  frame_ = std::make_shared<Frame>();
  frame_->outer = variables;
  Text out;
  run(block, out);
  // Macros hold the frame that holds them: the knot is cut here.
  frame_->names.clear();
  return out;
}

void Evaluator::spend(std::int64_t steps) {
  steps_ += steps;
  if (steps_ > limits_.max_steps)
    bad("more than {} steps; is there an endless loop?", limits_.max_steps);
}

void Evaluator::check_size(std::size_t bytes) const {
  if (bytes > limits_.max_bytes) bad("a string of more than {} bytes", limits_.max_bytes);
}

void Evaluator::append(Text& out, const Text& more) {
  check_size(out.size() + more.size());
  out += more;
}

void Evaluator::require(const Value& v) const {
  if (const Undefined* u = v.get<Undefined>())
    bad("{}", u->what.empty() ? "a value is undefined" : u->what);
}

const Value* Evaluator::lookup(const std::string& name) const {
  for (const Frame* f = frame_.get(); f; f = f->outer.get()) {
    const auto it = f->names.find(name);
    if (it != f->names.end()) return &it->second;
  }
  return nullptr;
}

List Evaluator::items(const Value& v) {
  if (v.is_undefined()) return {};
  List list;
  if (const List* l = v.as_sequence()) {
    list = *l;
  } else if (const Text* t = v.as_text()) {
    for (Text& c : t->characters()) list.push_back(Value::text(std::move(c)));
  } else if (const Dict* d = v.as_dict()) {
    for (const auto& [key, value] : *d) list.push_back(key);
  } else {
    bad("'{}' object is not iterable", v.type_name());
  }
  spend(static_cast<std::int64_t>(list.size()));
  return list;
}

// -- statements --------------------------------------------------------------------------------

Evaluator::Flow Evaluator::run(const Block& block, Text& out) {
  for (const auto& s : block) {
    const Flow flow = run(*s, out);
    if (flow != Flow::go_on) return flow;
  }
  return Flow::go_on;
}

void Evaluator::assign(const Target& target, Value value) {
  if (!target.attribute.empty()) {
    const Value* object = lookup(target.names[0]);
    if (!object || !object->as_namespace())
      bad("can't assign an attribute of what is no namespace");
    Dict& fields = *object->as_namespace()->fields;
    for (auto& [key, old] : fields)
      if (key.to_text().str() == target.attribute) {
        old = std::move(value);
        return;
      }
    fields.emplace_back(Value::text(Text(target.attribute)), std::move(value));
    return;
  }
  if (!target.unpack) {
    frame_->names[target.names[0]] = std::move(value);
    return;
  }
  require(value);
  const List parts = items(value);
  if (parts.size() != target.names.size())
    bad("expected {} values to unpack, found {}", target.names.size(), parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) frame_->names[target.names[i]] = parts[i];
}

Evaluator::Flow Evaluator::run(const Statement& s, Text& out) {
  spend(1);
  line_ = s.line;
  switch (s.kind) {
    case StatementKind::data:
      append(out, s.text);
      return Flow::go_on;
    case StatementKind::output:
      append(out, evaluate(*s.expression).to_text());
      return Flow::go_on;
    case StatementKind::if_:
      for (const auto& [condition, body] : s.branches)
        if (!condition || evaluate(*condition).truth()) return run(body, out);
      return Flow::go_on;
    case StatementKind::for_:
      return run_loop(s, evaluate(*s.expression), 1, out);
    case StatementKind::set:
      assign(s.targets[0], evaluate(*s.expression));
      return Flow::go_on;
    case StatementKind::macro:
      frame_->names[s.macro->name] = make_macro(s.macro);
      return Flow::go_on;
    case StatementKind::break_:
      return Flow::break_;
    case StatementKind::continue_:
      return Flow::continue_;
    case StatementKind::set_block:
    case StatementKind::filter_block: {
      Text body;
      {
        auto inner = std::make_shared<Frame>();
        inner->outer = frame_;
        const FrameGuard guard(frame_, std::move(inner));
        run(s.body, body);
      }
      Value value = Value::text(std::move(body));
      if (s.expression) {
        // The innermost filter of the chain has no input of its own.
        const auto apply = [&](const auto& self, const Expression& f) -> Value {
          const Value input = f.operands[0] ? self(self, *f.operands[0]) : value;
          return apply_filter(f.name, input, evaluate_arguments(f));
        };
        value = apply(apply, *s.expression);
      }
      if (s.kind == StatementKind::set_block)
        assign(s.targets[0], std::move(value));
      else
        append(out, value.to_text());
      return Flow::go_on;
    }
    case StatementKind::call_block: {
      Arguments arguments = evaluate_arguments(*s.expression);
      arguments.named.emplace_back("caller", make_macro(s.macro));
      append(out, call(evaluate(*s.expression->operands[0]), arguments).to_text());
      return Flow::go_on;
    }
    case StatementKind::with: {
      auto inner = std::make_shared<Frame>();
      inner->outer = frame_;
      for (std::size_t i = 0; i < s.targets.size(); ++i)
        inner->names[s.targets[i].names[0]] = evaluate(*s.values[i]);
      const FrameGuard guard(frame_, std::move(inner));
      return run(s.body, out);
    }
  }
  return Flow::go_on;
}

Evaluator::Flow Evaluator::run_loop(const Statement& s, const Value& iterable, std::int64_t depth,
                                    Text& out) {
  const DepthGuard guard(*this);
  List list = items(iterable);
  if (s.filter) {
    List kept;
    for (const Value& v : list) {
      auto inner = std::make_shared<Frame>();
      inner->outer = frame_;
      const FrameGuard frame(frame_, std::move(inner));
      assign(s.targets[0], v);
      if (evaluate(*s.filter).truth()) kept.push_back(v);
    }
    list = std::move(kept);
  }
  if (list.empty()) {
    auto inner = std::make_shared<Frame>();
    inner->outer = frame_;
    const FrameGuard frame(frame_, std::move(inner));
    return run(s.else_body, out);
  }
  auto loop = std::make_shared<Loop>();
  loop->items = std::move(list);
  loop->depth = depth;
  if (s.recursive)
    loop->recurse = function("loop", [&s, depth](Evaluator& e, const Arguments& a) {
      if (a.positional.size() != 1) e.bad("loop takes one value");
      Text inner;
      e.run_loop(s, a.positional[0], depth + 1, inner);
      return Value::text(std::move(inner));
    });
  Flow result = Flow::go_on;
  for (loop->index = 0; loop->index < loop->items.size(); ++loop->index) {
    spend(1);
    auto inner = std::make_shared<Frame>();
    inner->outer = frame_;
    const FrameGuard frame(frame_, std::move(inner));
    frame_->names["loop"] = Value(loop);
    assign(s.targets[0], loop->items[loop->index]);
    const Flow flow = run(s.body, out);
    if (flow == Flow::break_) break;
  }
  loop->recurse = {};
  return result;
}

// -- macros --------------------------------------------------------------------------------------

Value Evaluator::make_macro(const std::shared_ptr<const MacroData>& macro) {
  // The defining frame is held weakly where it holds the macro itself: by name lookups at call.
  const std::weak_ptr<Frame> frame = frame_;
  Callable c{macro->name, nullptr, nullptr};
  c.call = std::make_shared<const std::function<Value(Evaluator&, const Arguments&)>>(
      [macro, frame](Evaluator& e, const Arguments& a) {
        const auto alive = frame.lock();
        return e.call_macro(*macro, alive ? alive : e.frame_, a);
      });
  List names;
  for (const std::string& p : macro->parameters) names.push_back(Value::text(Text(p)));
  c.arguments = std::make_shared<const List>(std::move(names));
  return Value(std::move(c));
}

Value Evaluator::call_macro(const MacroData& m, const std::shared_ptr<Frame>& frame,
                            const Arguments& a) {
  const DepthGuard guard(*this);
  auto inner = std::make_shared<Frame>();
  inner->outer = frame;
  List extra;
  for (std::size_t i = 0; i < a.positional.size(); ++i) {
    if (i < m.parameters.size())
      inner->names[m.parameters[i]] = a.positional[i];
    else if (m.takes_varargs)
      extra.push_back(a.positional[i]);
    else
      bad("macro '{}' takes not more than {} arguments", m.name, m.parameters.size());
  }
  Dict named;
  for (const auto& [name, value] : a.named) {
    const bool known = std::ranges::find(m.parameters, name) != m.parameters.end();
    if (known && inner->names.contains(name)) bad("macro '{}' got `{}` twice", m.name, name);
    if (known || (name == "caller" && m.takes_caller))
      inner->names[name] = value;
    else if (m.takes_kwargs)
      named.emplace_back(Value::text(Text(name)), value);
    else
      bad("macro '{}' takes no keyword argument '{}'", m.name, name);
  }
  if (m.takes_varargs) inner->names["varargs"] = Value::tuple(std::move(extra));
  if (m.takes_kwargs) inner->names["kwargs"] = Value::dict(std::move(named));
  if (m.takes_caller && !inner->names.contains("caller"))
    inner->names["caller"] = Value::undefined("No caller defined");
  const FrameGuard frame_guard(frame_, inner);
  // Defaults may use the parameters before them.
  const std::size_t first = m.parameters.size() - m.defaults.size();
  for (std::size_t i = 0; i < m.parameters.size(); ++i) {
    if (inner->names.contains(m.parameters[i])) continue;
    inner->names[m.parameters[i]] =
        i >= first
            ? evaluate(*m.defaults[i - first])
            : Value::undefined(fmt::format("parameter '{}' was not provided", m.parameters[i]));
  }
  Text out;
  run(m.body, out);
  return Value::text(std::move(out));
}

Value Evaluator::call(const Value& f, const Arguments& arguments) {
  require(f);
  if (const Loop* loop = f.as_loop(); loop && loop->recurse.as_callable())
    return call(loop->recurse, arguments);
  const Callable* c = f.as_callable();
  if (!c) bad("'{}' object is not callable", f.type_name());
  spend(1);
  const auto keep = c->call;  // the frame that holds it may go while it runs
  return (*keep)(*this, arguments);
}

// -- expressions ---------------------------------------------------------------------------------

Arguments Evaluator::evaluate_arguments(const Expression& e) {
  Arguments a;
  for (std::size_t i = 1; i < e.operands.size(); ++i)
    a.positional.push_back(evaluate(*e.operands[i]));
  for (const auto& [name, value] : e.named) a.named.emplace_back(name, evaluate(*value));
  return a;
}

Value Evaluator::evaluate(const Expression& e) {
  spend(1);
  line_ = e.line;
  const auto operand = [&](std::size_t i) { return evaluate(*e.operands[i]); };
  switch (e.kind) {
    case ExpressionKind::literal:
      return e.value;
    case ExpressionKind::name: {
      const Value* v = lookup(e.name);
      return v ? *v : Value::undefined(fmt::format("'{}' is undefined", e.name));
    }
    case ExpressionKind::list:
    case ExpressionKind::tuple: {
      List list;
      for (const auto& item : e.operands) list.push_back(evaluate(*item));
      return e.kind == ExpressionKind::list ? Value::list(std::move(list))
                                            : Value::tuple(std::move(list));
    }
    case ExpressionKind::dict: {
      Dict dict;
      for (std::size_t i = 0; i < e.operands.size(); i += 2) {
        Value key = operand(i), value = operand(i + 1);
        const auto same =
            std::ranges::find_if(dict, [&](const auto& item) { return item.first.equals(key); });
        if (same != dict.end())
          same->second = std::move(value);
        else
          dict.emplace_back(std::move(key), std::move(value));
      }
      return Value::dict(std::move(dict));
    }
    case ExpressionKind::attribute:
      return attribute(operand(0), e.name);
    case ExpressionKind::subscript:
      if (e.operands[1]->kind == ExpressionKind::slice) return slice(operand(0), *e.operands[1]);
      return item(operand(0), operand(1));
    case ExpressionKind::slice:
      bad("a slice outside of brackets");
    case ExpressionKind::call:
      return call(operand(0), evaluate_arguments(e));
    case ExpressionKind::filter:
      return apply_filter(e.name, operand(0), evaluate_arguments(e));
    case ExpressionKind::test:
      return Value(apply_test(e.name, operand(0), evaluate_arguments(e)));
    case ExpressionKind::not_:
      return Value(!operand(0).truth());
    case ExpressionKind::negate: {
      const Value v = operand(0);
      if (const double* d = v.get<double>()) return Value(-*d);
      return binary("-", Value::integer(0), v);
    }
    case ExpressionKind::plus:
      return binary("+", Value::integer(0), operand(0));
    case ExpressionKind::binary:
      return binary(e.name, operand(0), operand(1));
    case ExpressionKind::concat: {
      Text out;
      for (const auto& part : e.operands) append(out, evaluate(*part).to_text());
      return Value::text(std::move(out));
    }
    case ExpressionKind::compare: {
      Value left = operand(0);
      for (std::size_t i = 0; i < e.names.size(); ++i) {
        Value right = operand(i + 1);
        if (!compare(e.names[i], left, right)) return Value(false);
        left = std::move(right);
      }
      return Value(true);
    }
    case ExpressionKind::and_: {
      Value left = operand(0);
      return left.truth() ? operand(1) : left;
    }
    case ExpressionKind::or_: {
      Value left = operand(0);
      return left.truth() ? left : operand(1);
    }
    case ExpressionKind::condition:
      if (evaluate(*e.operands[1]).truth()) return operand(0);
      return e.operands[2]
                 ? operand(2)
                 : Value::undefined("the inline if has no else and its condition is false");
  }
  return {};
}

}  // namespace octet::chat_template
