// Filters that take and make lists. Where Jinja gives a generator, a list serves.

#include <algorithm>

#include "input/chat_template/filters.h"

namespace octet::chat_template {

namespace {

// "a.b.0": attributes and indices, one after the other.
Value follow(Evaluator& e, const Value& v, const Value& path) {
  Integer n = 0;
  if (path.to_integer(n)) return e.item(v, path);
  Value current = v;
  const std::string names = path.to_text().str();
  for (std::size_t begin = 0; begin <= names.size();) {
    std::size_t end = names.find('.', begin);
    if (end == std::string::npos) end = names.size();
    const std::string name = names.substr(begin, end - begin);
    const bool digits = !name.empty() && name.size() < 10 &&
                        std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; });
    current = e.item(current, digits ? Value::integer(std::stoi(name)) : Value::text(Text(name)));
    begin = end + 1;
  }
  return current;
}

Arguments rest(const Arguments& a, std::size_t from) {
  Arguments r;
  for (std::size_t i = from; i < a.positional.size(); ++i) r.positional.push_back(a.positional[i]);
  return r;
}

Value map(Evaluator& e, const Value& v, const Arguments& a) {
  List out;
  const Value* attribute = argument(a, SIZE_MAX, "attribute");
  const Value* fallback = argument(a, SIZE_MAX, "default");
  if (!attribute && a.positional.empty()) e.bad("map takes a filter or attribute=");
  for (const Value& item : e.items(v)) {
    if (attribute) {
      Value found = follow(e, item, *attribute);
      out.push_back(found.is_undefined() && fallback ? *fallback : std::move(found));
    } else {
      out.push_back(e.apply_filter(a.positional[0].to_text().str(), item, rest(a, 1)));
    }
  }
  return Value::list(std::move(out));
}

// select, reject, selectattr, rejectattr.
Value choose(Evaluator& e, const Value& v, const Arguments& a, bool by_attribute, bool keep) {
  List out;
  const std::size_t test = by_attribute ? 1 : 0;
  if (a.positional.size() < test) e.bad("the filter takes an attribute");
  for (const Value& item : e.items(v)) {
    const Value subject = by_attribute ? follow(e, item, a.positional[0]) : item;
    const bool good = a.positional.size() > test ? e.apply_test(a.positional[test].to_text().str(),
                                                                subject, rest(a, test + 1))
                                                 : subject.truth();
    if (good == keep) out.push_back(item);
  }
  return Value::list(std::move(out));
}

// What sort, unique, min, max and groupby compare.
Value key_of(Evaluator& e, const Value& item, const Value* attribute, bool case_sensitive) {
  const Value v = attribute && !attribute->is_none() ? follow(e, item, *attribute) : item;
  return !case_sensitive && v.as_text() ? Value::text(lower(*v.as_text())) : v;
}

List sorted(Evaluator& e, const List& list, const Value* attribute, bool case_sensitive,
            bool reverse) {
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : list)
    keyed.emplace_back(key_of(e, item, attribute, case_sensitive), item);
  e.spend(static_cast<std::int64_t>(list.size()) * 16);
  // A sort by insertion into place keeps equals in order and survives a comparison that throws.
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& x, const auto& y) {
    return reverse ? e.less(y.first, x.first) : e.less(x.first, y.first);
  });
  List out;
  for (auto& [key, item] : keyed) out.push_back(item);
  return out;
}

Value sort(Evaluator& e, const Value& v, const Arguments& a) {
  return Value::list(sorted(e, e.items(v), argument(a, 2, "attribute"),
                            flag_option(a, 1, "case_sensitive", false),
                            flag_option(a, 0, "reverse", false)));
}

Value extreme(Evaluator& e, const Value& v, const Arguments& a, bool largest) {
  const List list = e.items(v);
  const Value* attribute = argument(a, 1, "attribute");
  const bool cased = flag_option(a, 0, "case_sensitive", false);
  if (list.empty()) return Value::undefined("no item of an empty list");
  std::size_t best = 0;
  for (std::size_t i = 1; i < list.size(); ++i) {
    const Value x = key_of(e, list[i], attribute, cased),
                y = key_of(e, list[best], attribute, cased);
    if (largest ? e.less(y, x) : e.less(x, y)) best = i;
  }
  return list[best];
}

Value unique(Evaluator& e, const Value& v, const Arguments& a) {
  List out, seen;
  for (const Value& item : e.items(v)) {
    const Value key =
        key_of(e, item, argument(a, 1, "attribute"), flag_option(a, 0, "case_sensitive", false));
    e.spend(static_cast<std::int64_t>(seen.size()));
    if (std::ranges::any_of(seen, [&](const Value& s) { return s.equals(key); })) continue;
    seen.push_back(key);
    out.push_back(item);
  }
  return Value::list(std::move(out));
}

Value groupby(Evaluator& e, const Value& v, const Arguments& a) {
  const Value* attribute = argument(a, 0, "attribute");
  if (!attribute) e.bad("groupby takes an attribute");
  const Value* fallback = argument(a, 1, "default");
  List keys, groups;
  std::vector<std::pair<Value, List>> found;
  for (const Value& item : e.items(v)) {
    Value key = follow(e, item, *attribute);
    if (key.is_undefined() && fallback) key = *fallback;
    const auto same =
        std::ranges::find_if(found, [&](const auto& g) { return g.first.equals(key); });
    if (same != found.end())
      same->second.push_back(item);
    else
      found.emplace_back(std::move(key), List{item});
  }
  std::stable_sort(found.begin(), found.end(), [&](const auto& x, const auto& y) {
    if (x.first.is_undefined() || y.first.is_undefined()) return false;
    return e.less(x.first, y.first);
  });
  for (auto& [key, list] : found)
    groups.push_back(Value::tuple({key, Value::list(std::move(list))}));
  return Value::list(std::move(groups));
}

Value sum(Evaluator& e, const Value& v, const Arguments& a) {
  const Value* attribute = argument(a, 0, "attribute");
  const Value* start = argument(a, 1, "start");
  Value total = start ? *start : Value::integer(0);
  for (const Value& item : e.items(v))
    total = e.binary("+", total,
                     attribute && !attribute->is_none() ? follow(e, item, *attribute) : item);
  return total;
}

Value join(Evaluator& e, const Value& v, const Arguments& a) {
  const Text separator = argument(a, 0, "d") ? argument(a, 0, "d")->to_text() : Text();
  const Value* attribute = argument(a, 1, "attribute");
  Text out;
  bool first = true;
  for (const Value& item : e.items(v)) {
    if (!std::exchange(first, false)) out += separator;
    out += (attribute ? follow(e, item, *attribute) : item).to_text();
    e.check_size(out.size());
  }
  return Value::text(std::move(out));
}

Value end_item(Evaluator& e, const Value& v, bool first) {
  const List list = e.items(v);
  if (list.empty()) return Value::undefined("no item of an empty sequence");
  return first ? list.front() : list.back();
}

Value batch(Evaluator& e, const Value& v, const Arguments& a) {
  const Integer size = integer_option(e, a, 0, "linecount", 0);
  const Value* fill = argument(a, 1, "fill_with");
  if (size < 1) e.bad("batch takes a size of 1 or more");
  List out, line;
  for (const Value& item : e.items(v)) {
    line.push_back(item);
    if (static_cast<Integer>(line.size()) == size)
      out.push_back(Value::list(std::exchange(line, {})));
  }
  if (!line.empty()) {
    if (fill && !fill->is_none() && size < 100000)
      while (static_cast<Integer>(line.size()) < size) line.push_back(*fill);
    out.push_back(Value::list(std::move(line)));
  }
  return Value::list(std::move(out));
}

Value slices(Evaluator& e, const Value& v, const Arguments& a) {
  const Integer count = integer_option(e, a, 0, "slices", 0);
  const Value* fill = argument(a, 1, "fill_with");
  if (count < 1 || count > 100000) e.bad("slice takes a number of 1 to 100000");
  const List list = e.items(v);
  const auto n = static_cast<Integer>(list.size());
  const Integer each = n / count, longer = n % count;
  List out;
  std::size_t at = 0;
  for (Integer i = 0; i < count; ++i) {
    List part;
    for (Integer j = 0; j < each + (i < longer); ++j) part.push_back(list[at++]);
    if (fill && !fill->is_none() && longer > 0 && i >= longer) part.push_back(*fill);
    out.push_back(Value::list(std::move(part)));
  }
  return Value::list(std::move(out));
}

Value dictsort(Evaluator& e, const Value& v, const Arguments& a) {
  if (!v.as_dict()) e.bad("dictsort takes a mapping");
  const bool by_value = text_option(e, a, 1, "by", "key").str() == "value";
  const Value position = Value::integer(by_value ? 1 : 0);
  const Value pairs = e.call(e.attribute(v, "items"), {});
  return Value::list(sorted(e, *pairs.as_sequence(), &position,
                            flag_option(a, 0, "case_sensitive", false),
                            flag_option(a, 2, "reverse", false)));
}

}  // namespace

void add_list_filters(std::map<std::string, Filter>& t) {
  t["list"] = [](Evaluator& e, const Value& v, auto&) { return Value::list(e.items(v)); };
  t["map"] = map;
  t["select"] = [](Evaluator& e, const Value& v, const Arguments& a) {
    return choose(e, v, a, false, true);
  };
  t["reject"] = [](Evaluator& e, const Value& v, const Arguments& a) {
    return choose(e, v, a, false, false);
  };
  t["selectattr"] = [](Evaluator& e, const Value& v, const Arguments& a) {
    return choose(e, v, a, true, true);
  };
  t["rejectattr"] = [](Evaluator& e, const Value& v, const Arguments& a) {
    return choose(e, v, a, true, false);
  };
  t["sort"] = sort;
  t["min"] = [](Evaluator& e, const Value& v, const Arguments& a) {
    return extreme(e, v, a, false);
  };
  t["max"] = [](Evaluator& e, const Value& v, const Arguments& a) {
    return extreme(e, v, a, true);
  };
  t["unique"] = unique;
  t["groupby"] = groupby;
  t["sum"] = sum;
  t["join"] = join;
  t["first"] = [](Evaluator& e, const Value& v, auto&) { return end_item(e, v, true); };
  t["last"] = [](Evaluator& e, const Value& v, auto&) { return end_item(e, v, false); };
  t["batch"] = batch;
  t["slice"] = slices;
  t["dictsort"] = dictsort;
}

}  // namespace octet::chat_template
