#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "input/chat_template/ast.h"
#include "input/chat_template/lexer.h"
#include "runtime/base/error.h"

namespace octet::chat_template {

namespace {

constexpr int kMaxDepth = 200;  // of nested brackets and blocks: far beyond any template

class Parser {
 public:
  Parser(std::vector<Token> tokens, const std::string& name)
      : tokens_(std::move(tokens)), name_(name) {}

  Block run() {
    Block block = statements({});
    if (peek().kind != TokenKind::end) bad("unexpected `{}`", peek().text);
    return block;
  }

 private:
  template <typename... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::bad_data, "{}, line {}: {}", name_, peek().line,
         fmt::format(format, std::forward<Args>(args)...));
  }

  // -- tokens --------------------------------------------------------------------------------
  const Token& peek(std::size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  Token next() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_.back(); }
  bool is_op(std::string_view op) const {
    return peek().kind == TokenKind::op && peek().text == op;
  }
  bool is_name(std::string_view name) const {
    return peek().kind == TokenKind::name && peek().text == name;
  }
  bool skip_op(std::string_view op) { return is_op(op) ? (next(), true) : false; }
  bool skip_name(std::string_view name) { return is_name(name) ? (next(), true) : false; }
  static std::string describe(const Token& t) {
    switch (t.kind) {
      case TokenKind::block_end:
        return "end of statement block";
      case TokenKind::variable_end:
        return "end of print statement";
      case TokenKind::end:
        return "end of template";
      case TokenKind::data:
        return "text";
      default:
        return t.text;
    }
  }
  void expect_op(std::string_view op) {
    if (!skip_op(op)) bad("expected `{}`, found `{}`", op, describe(peek()));
  }
  std::string expect_name() {
    if (peek().kind != TokenKind::name) bad("expected a name, found `{}`", describe(peek()));
    return next().text;
  }
  void expect_name(std::string_view name) {
    if (!skip_name(name)) bad("expected `{}`, found `{}`", name, describe(peek()));
  }
  void expect_block_end() {
    if (peek().kind != TokenKind::block_end)
      bad("expected the end of the tag, found `{}`", describe(peek()));
    next();
  }

  struct Depth {
    int& depth;
    explicit Depth(Parser& p) : depth(p.depth_) {
      if (++depth > kMaxDepth) p.bad("nested more than {} deep", kMaxDepth);
    }
    ~Depth() { --depth; }
  };

  // -- statements ----------------------------------------------------------------------------

  // Up to a tag with one of the names (which stays unread), or the template's end if there are
  // none.
  Block statements(std::initializer_list<std::string_view> ends) {
    const Depth depth(*this);
    Block block;
    for (;;) {
      const Token& t = peek();
      if (t.kind == TokenKind::end) {
        if (ends.size() > 0) bad("unexpected end of template, expected {}", *(ends.end() - 1));
        return block;
      }
      if (t.kind == TokenKind::data) {
        auto s = make(StatementKind::data);
        s->text = Text(next().text);
        block.push_back(std::move(s));
      } else if (t.kind == TokenKind::variable_begin) {
        next();
        auto s = make(StatementKind::output);
        s->expression = tuple_or_expression();
        if (peek().kind != TokenKind::variable_end)
          bad("expected the end of the print statement, found `{}`", describe(peek()));
        next();
        block.push_back(std::move(s));
      } else {
        const Token& tag = peek(1);
        if (tag.kind != TokenKind::name) bad("a tag without a name");
        if (std::ranges::find(ends, tag.text) != ends.end()) return block;
        next();
        statement(block);
      }
    }
  }

  std::unique_ptr<Statement> make(StatementKind kind) const {
    auto s = std::make_unique<Statement>();
    s->kind = kind;
    s->line = peek().line;
    return s;
  }

  void end_tag(std::string_view name) {
    next();  // block_begin
    expect_name(name);
    expect_block_end();
  }

  void statement(Block& block) {
    const std::string tag = next().text;
    if (tag == "if") return block.push_back(if_statement());
    if (tag == "for") return block.push_back(for_statement());
    if (tag == "set") return block.push_back(set_statement());
    if (tag == "macro") return block.push_back(macro_statement());
    if (tag == "call") return block.push_back(call_statement());
    if (tag == "filter") return block.push_back(filter_statement());
    if (tag == "with") return block.push_back(with_statement());
    if (tag == "break" || tag == "continue") {
      if (loops_ == 0) bad("`{}` outside of a loop", tag);
      block.push_back(make(tag == "break" ? StatementKind::break_ : StatementKind::continue_));
      return expect_block_end();
    }
    if (tag == "generation") {
      // Marks the assistant's part for training tools; it prints its body.
      expect_block_end();
      Block body = statements({"endgeneration"});
      end_tag("endgeneration");
      std::ranges::move(body, std::back_inserter(block));
      return;
    }
    bad("unknown tag `{}`", tag);
  }

  std::unique_ptr<Statement> if_statement() {
    auto s = make(StatementKind::if_);
    ExpressionPtr condition = tuple_or_expression();
    for (;;) {
      expect_block_end();
      Block body = statements({"elif", "else", "endif"});
      s->branches.emplace_back(std::move(condition), std::move(body));
      next();  // block_begin
      const std::string tag = next().text;
      if (tag == "endif") break;
      condition = tag == "elif" ? tuple_or_expression() : nullptr;
      if (tag == "else") {
        expect_block_end();
        s->branches.emplace_back(nullptr, statements({"endif"}));
        next();
        next();
        break;
      }
    }
    expect_block_end();
    return s;
  }

  Target target(bool allow_attribute) {
    Target t;
    const bool bracket = skip_op("(");
    do {
      if (!t.names.empty() && (is_op("=") || is_name("in") || is_op(")"))) break;  // a, = ...
      t.names.push_back(expect_name());
      if (allow_attribute && t.names.size() == 1 && skip_op(".")) {
        t.attribute = expect_name();
        return t;
      }
      if (is_op(",")) t.unpack = true;
    } while (skip_op(","));
    if (bracket) expect_op(")");
    for (const std::string& name : t.names)
      if (name == "true" || name == "false" || name == "none" || name == "True" ||
          name == "False" || name == "None")
        bad("can't assign to `{}`", name);
    return t;
  }

  std::unique_ptr<Statement> for_statement() {
    auto s = make(StatementKind::for_);
    s->targets.push_back(target(false));
    expect_name("in");
    // Without the inline condition: a trailing "if" filters the loop.
    s->expression = tuple_or_expression(false);
    if (skip_name("if")) s->filter = expression();
    s->recursive = skip_name("recursive");
    expect_block_end();
    ++loops_;
    s->body = statements({"else", "endfor"});
    --loops_;
    next();
    if (next().text == "else") {
      expect_block_end();
      s->else_body = statements({"endfor"});
      next();
      next();
    }
    expect_block_end();
    return s;
  }

  std::unique_ptr<Statement> set_statement() {
    auto s = make(StatementKind::set);
    s->targets.push_back(target(true));
    if (skip_op("=")) {
      s->expression = tuple_or_expression();
      expect_block_end();
      return s;
    }
    s->kind = StatementKind::set_block;
    if (is_op("|")) s->expression = filters(nullptr);
    expect_block_end();
    s->body = statements({"endset"});
    end_tag("endset");
    return s;
  }

  void parameters(MacroData& m) {
    expect_op("(");
    while (!is_op(")")) {
      if (!m.parameters.empty()) expect_op(",");
      if (is_op(")")) break;
      m.parameters.push_back(expect_name());
      if (skip_op("="))
        m.defaults.push_back(expression());
      else if (!m.defaults.empty())
        bad("a parameter without default after one with");
    }
    expect_op(")");
  }

  // varargs, kwargs and caller belong to a macro that names them somewhere.
  void scan_uses(MacroData& m, std::size_t begin) const {
    for (std::size_t i = begin; i < at_; ++i) {
      if (tokens_[i].kind != TokenKind::name) continue;
      m.takes_varargs |= tokens_[i].text == "varargs";
      m.takes_kwargs |= tokens_[i].text == "kwargs";
      m.takes_caller |= tokens_[i].text == "caller";
    }
  }

  std::unique_ptr<Statement> macro_statement() {
    auto s = make(StatementKind::macro);
    auto m = std::make_shared<MacroData>();
    m->name = expect_name();
    parameters(*m);
    expect_block_end();
    const std::size_t begin = at_;
    const int loops = std::exchange(loops_, 0);
    m->body = statements({"endmacro"});
    loops_ = loops;
    scan_uses(*m, begin);
    end_tag("endmacro");
    s->macro = std::move(m);
    return s;
  }

  std::unique_ptr<Statement> call_statement() {
    auto s = make(StatementKind::call_block);
    auto m = std::make_shared<MacroData>();
    m->name = "caller";
    if (is_op("(")) parameters(*m);
    s->expression = expression();
    if (s->expression->kind != ExpressionKind::call) bad("expected a call");
    expect_block_end();
    const std::size_t begin = at_;
    m->body = statements({"endcall"});
    scan_uses(*m, begin);
    end_tag("endcall");
    s->macro = std::move(m);
    return s;
  }

  std::unique_ptr<Statement> filter_statement() {
    auto s = make(StatementKind::filter_block);
    s->expression = filter_call(nullptr);
    if (is_op("|")) s->expression = filters(std::move(s->expression));
    expect_block_end();
    s->body = statements({"endfilter"});
    end_tag("endfilter");
    return s;
  }

  std::unique_ptr<Statement> with_statement() {
    auto s = make(StatementKind::with);
    while (peek().kind != TokenKind::block_end) {
      if (!s->targets.empty()) expect_op(",");
      Target t;
      t.names.push_back(expect_name());
      s->targets.push_back(std::move(t));
      expect_op("=");
      s->values.push_back(expression());
    }
    expect_block_end();
    s->body = statements({"endwith"});
    end_tag("endwith");
    return s;
  }

  // -- expressions, loosest binding first ------------------------------------------------------

  ExpressionPtr node(ExpressionKind kind) const {
    auto e = std::make_unique<Expression>();
    e->kind = kind;
    e->line = peek().line;
    return e;
  }
  template <typename... Operands>
  ExpressionPtr node(ExpressionKind kind, std::string name, Operands... operands) const {
    auto e = node(kind);
    e->name = std::move(name);
    (e->operands.push_back(std::move(operands)), ...);
    return e;
  }

  bool ends_tuple() const {
    return peek().kind == TokenKind::variable_end || peek().kind == TokenKind::block_end ||
           is_op(")") || is_op("=");
  }

  ExpressionPtr tuple_or_expression(bool with_condition = true) {
    ExpressionPtr first = with_condition ? expression() : or_expression();
    if (!is_op(",")) return first;
    auto tuple = node(ExpressionKind::tuple);
    tuple->operands.push_back(std::move(first));
    while (skip_op(",")) {
      if (ends_tuple() || is_name("if") || is_name("recursive")) break;
      tuple->operands.push_back(with_condition ? expression() : or_expression());
    }
    return tuple;
  }

  ExpressionPtr expression() {
    const Depth depth(*this);
    ExpressionPtr value = or_expression();
    while (skip_name("if")) {
      ExpressionPtr condition = or_expression(), otherwise;
      if (skip_name("else")) otherwise = expression();
      value = node(ExpressionKind::condition, "", std::move(value), std::move(condition),
                   std::move(otherwise));
    }
    return value;
  }

  ExpressionPtr or_expression() {
    ExpressionPtr left = and_expression();
    while (skip_name("or")) left = node(ExpressionKind::or_, "", std::move(left), and_expression());
    return left;
  }

  ExpressionPtr and_expression() {
    ExpressionPtr left = not_expression();
    while (skip_name("and"))
      left = node(ExpressionKind::and_, "", std::move(left), not_expression());
    return left;
  }

  ExpressionPtr not_expression() {
    if (!is_name("not")) return comparison();
    const Depth depth(*this);
    next();
    return node(ExpressionKind::not_, "", not_expression());
  }

  ExpressionPtr comparison() {
    ExpressionPtr left = sum();
    ExpressionPtr compare;
    for (;;) {
      std::string op;
      if (peek().kind == TokenKind::op &&
          (peek().text == "==" || peek().text == "!=" || peek().text == "<" ||
           peek().text == "<=" || peek().text == ">" || peek().text == ">="))
        op = next().text;
      else if (skip_name("in"))
        op = "in";
      else if (is_name("not") && peek(1).kind == TokenKind::name && peek(1).text == "in")
        op = (next(), next(), "not in");
      else
        break;
      if (!compare) compare = node(ExpressionKind::compare, "", std::move(left));
      compare->names.push_back(op);
      compare->operands.push_back(sum());
    }
    return compare ? std::move(compare) : std::move(left);
  }

  ExpressionPtr sum() {
    ExpressionPtr left = concat();
    while (is_op("+") || is_op("-")) {
      std::string op = next().text;
      left = node(ExpressionKind::binary, std::move(op), std::move(left), concat());
    }
    return left;
  }

  // ~ binds tighter than +.
  ExpressionPtr concat() {
    ExpressionPtr first = product();
    if (!is_op("~")) return first;
    auto e = node(ExpressionKind::concat, "", std::move(first));
    while (skip_op("~")) e->operands.push_back(product());
    return e;
  }

  ExpressionPtr product() {
    ExpressionPtr left = power();
    while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) {
      std::string op = next().text;
      left = node(ExpressionKind::binary, std::move(op), std::move(left), power());
    }
    return left;
  }

  ExpressionPtr power() {
    ExpressionPtr left = unary(true);
    while (is_op("**")) {
      next();
      left = node(ExpressionKind::binary, "**", std::move(left), unary(true));
    }
    return left;
  }

  ExpressionPtr unary(bool with_filters) {
    const Depth depth(*this);
    ExpressionPtr e;
    if (skip_op("-"))
      e = node(ExpressionKind::negate, "", unary(false));
    else if (skip_op("+"))
      e = node(ExpressionKind::plus, "", unary(false));
    else
      e = primary();
    e = postfix(std::move(e));
    return with_filters ? filters_and_tests(std::move(e)) : std::move(e);
  }

  ExpressionPtr literal(Value v) const {
    auto e = node(ExpressionKind::literal);
    e->value = std::move(v);
    return e;
  }

  ExpressionPtr primary() {
    const Token t = peek();
    switch (t.kind) {
      case TokenKind::name:
        next();
        if (t.text == "true" || t.text == "True") return literal(Value(true));
        if (t.text == "false" || t.text == "False") return literal(Value(false));
        if (t.text == "none" || t.text == "None") return literal(Value(None{}));
        return node(ExpressionKind::name, t.text);
      case TokenKind::string: {
        Text text;
        while (peek().kind == TokenKind::string) text += Text(next().text);
        return literal(Value::text(std::move(text)));
      }
      case TokenKind::integer: {
        next();
        std::uint64_t n = 0;
        const auto [end, error] = std::from_chars(t.text.data(), t.text.data() + t.text.size(), n);
        if (error != std::errc{}) bad("the number {} is too large", t.text);
        return literal(Value::integer(static_cast<Integer>(n)));
      }
      case TokenKind::floating:
        next();
        return literal(Value(std::strtod(t.text.c_str(), nullptr)));
      case TokenKind::op:
        if (t.text == "(") return parenthesis();
        if (t.text == "[") return list();
        if (t.text == "{") return dict();
        break;
      default:
        break;
    }
    bad("expected an expression, found `{}`", describe(t));
  }

  ExpressionPtr parenthesis() {
    next();
    if (skip_op(")")) return node(ExpressionKind::tuple);
    ExpressionPtr e = tuple_or_expression();
    expect_op(")");
    return e;
  }

  ExpressionPtr list() {
    auto e = node(ExpressionKind::list);
    next();
    while (!is_op("]")) {
      if (!e->operands.empty()) expect_op(",");
      if (is_op("]")) break;
      e->operands.push_back(expression());
    }
    next();
    return e;
  }

  ExpressionPtr dict() {
    auto e = node(ExpressionKind::dict);
    next();
    while (!is_op("}")) {
      if (!e->operands.empty()) expect_op(",");
      if (is_op("}")) break;
      e->operands.push_back(expression());
      expect_op(":");
      e->operands.push_back(expression());
    }
    next();
    return e;
  }

  ExpressionPtr postfix(ExpressionPtr e) {
    for (;;) {
      if (is_op(".")) {
        next();
        if (peek().kind == TokenKind::integer) {
          e = node(ExpressionKind::subscript, "", std::move(e), primary());
        } else {
          std::string name = expect_name();
          e = node(ExpressionKind::attribute, std::move(name), std::move(e));
        }
      } else if (is_op("[")) {
        next();
        ExpressionPtr index = subscript();
        expect_op("]");
        e = node(ExpressionKind::subscript, "", std::move(e), std::move(index));
      } else if (is_op("(")) {
        e = node(ExpressionKind::call, "", std::move(e));
        arguments(*e);
      } else {
        return e;
      }
    }
  }

  ExpressionPtr subscript() {
    ExpressionPtr parts[3];
    int colons = 0;
    for (;;) {
      if (is_op(":")) {
        if (++colons > 2) bad("a slice has at most three parts");
        next();
      } else if (is_op("]")) {
        break;
      } else {
        if (parts[colons]) bad("expected `]`, found `{}`", describe(peek()));
        parts[colons] = expression();
      }
    }
    if (colons == 0) {
      if (!parts[0]) bad("expected an expression, found `]`");
      return std::move(parts[0]);
    }
    return node(ExpressionKind::slice, "", std::move(parts[0]), std::move(parts[1]),
                std::move(parts[2]));
  }

  void arguments(Expression& call) {
    expect_op("(");
    bool first = true;
    while (!is_op(")")) {
      if (!std::exchange(first, false)) expect_op(",");
      if (is_op(")")) break;
      if (is_op("*") || is_op("**")) bad("unpacked arguments are not supported");
      if (peek().kind == TokenKind::name && peek(1).kind == TokenKind::op && peek(1).text == "=") {
        std::string name = next().text;
        next();
        call.named.emplace_back(std::move(name), expression());
      } else {
        if (!call.named.empty()) bad("a positional argument after a named one");
        call.operands.push_back(expression());
      }
    }
    next();
  }

  ExpressionPtr filter_call(ExpressionPtr input) {
    std::string name = expect_name();
    while (skip_op(".")) name += "." + expect_name();
    if (!filter_exists(name)) bad("no filter named `{}`", name);
    auto e = node(ExpressionKind::filter, std::move(name), std::move(input));
    if (is_op("(")) arguments(*e);
    return e;
  }

  ExpressionPtr filters(ExpressionPtr e) {
    while (skip_op("|")) e = filter_call(std::move(e));
    return e;
  }

  ExpressionPtr filters_and_tests(ExpressionPtr e) {
    for (;;) {
      if (is_op("|")) {
        e = filters(std::move(e));
      } else if (is_name("is")) {
        next();
        e = test(std::move(e));
      } else if (is_op("(")) {
        e = node(ExpressionKind::call, "", std::move(e));
        arguments(*e);
      } else {
        return e;
      }
    }
  }

  ExpressionPtr test(ExpressionPtr input) {
    const bool negated = skip_name("not");
    std::string name = expect_name();
    while (skip_op(".")) name += "." + expect_name();
    if (!test_exists(name)) bad("no test named `{}`", name);
    auto e = node(ExpressionKind::test, std::move(name), std::move(input));
    const TokenKind k = peek().kind;
    const bool word = k == TokenKind::name && !is_name("else") && !is_name("or") &&
                      !is_name("and") && !is_name("is") && !is_name("if") && !is_name("not") &&
                      !is_name("in");
    if (is_op("("))
      arguments(*e);
    else if (word || k == TokenKind::string || k == TokenKind::integer ||
             k == TokenKind::floating || is_op("[") || is_op("{"))
      e->operands.push_back(postfix(primary()));
    return negated ? node(ExpressionKind::not_, "", std::move(e)) : std::move(e);
  }

  std::vector<Token> tokens_;
  const std::string& name_;
  std::size_t at_ = 0;
  int depth_ = 0, loops_ = 0;
};

}  // namespace

Block parse_template(const std::string& source, const std::string& name) {
  return Parser(tokenize(source, name), name).run();
}

}  // namespace octet::chat_template
