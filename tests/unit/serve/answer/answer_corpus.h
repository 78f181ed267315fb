#pragma once

#include <string>
#include <vector>

namespace octet::serve {

/// Answers, well formed and not, over parse_pieces.h's tools. Every test of cuts runs over them.
inline const std::vector<std::string>& answer_corpus() {
  static const std::vector<std::string> answers{
      "",
      "Hello.",
      "  \n leading and trailing \n\n",
      "thought\n</think>\n\nanswer",
      "\n\nthought\n\n\nmore\n\n</think>\n\n\n  answer </think> rest",
      "<think>\nthought\n</think>\n\nanswer <think> is a word",
      "only thought, never closed\n\n",
      "<think></think>",
      "a < b <t <th <thi </thin </think <tool_cal <tool_call <function <<<tool_call>",
      "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>"
      "\n3\n</parameter>\n</function>\n</tool_call>",
      "Let me look.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nZ\xc3\xbcrich "
      "\xf0\x9f\x98\x80\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=now>\n"
      "</function>\n</tool_call>\n\nDone.",
      "I should\n\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
      "I may write <tool_call> or <tool_call>\n\n <function, who knows\n</think>\nyes",
      "<function=get_weather>\n<parameter=city>\nRome\n</parameter>\n</function>\n</tool_call>",
      "Text\n<function=nothing_known>\n<parameter=x>\n1\n</parameter>\n</function>",
      "see <function=get_weather> inline",
      "<tool_call>\n<function=write_file>\n<parameter=path>\na.xml\n</"
      "parameter>\n<parameter=text>\n"
      "<a>\n</parameter> inside\n  </function> too\n<parameter=unknown>\n</parameter>x\n\n"
      "</parameter>\n<parameter=overwrite>\nTrue\n</parameter>\n</function>\n</tool_call>",
      "<tool_call>\n<function=write_file>\n<parameter=path>\na\n<parameter=text>\nb\n</function>\n"
      "</tool_call>",
      "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</parameter>\n"
      "</function>\n</tool_call>",
      "<tool_call><function=get_weather><parameter=city>Paris</parameter><parameter=tags>['a', "
      "\"b\"]</parameter></function></tool_call>",
      "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<tool_call>\n"
      "<function=now>\n<function=now>\n</tool_call>tail",
      "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n",
      "<tool_call>\n<function=get_weather>\n<parameter=city>\nPar",
      "<tool_call>\n<function=get_weather>\n<parameter=units>\nnone\n</para",
      "<tool_call>\n<function=get_weather>\n<parameter=ci",
      "<tool_call>\n<function=get_wea",
      "Text.\n<tool_call>\n",
      "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"a}\\\"<b\", \"days\": "
      "\"3\"}}\n</tool_call> tail",
      "<tool_call>{\"name\": \"now\"}</tool_call><tool_call>{\"nam\": 1}</tool_call>",
      "<tool_call>{\"name\": \"now\", \"arguments\": {</tool_call> lost",
      "<tool_call>{'name': 'now', 'arguments': {'x': True}}</tool_call>",
      "<tool_call>\n<function_invocation name=\"x\">\n</function_invocation>\n</tool_call>",
      "<tool_call><tool_call>\n<function=now></function></tool_call></tool_call>",
      "<tool_call>\n<function=>\n</function>\n</tool_call>",
      "<tool_call>\n<function=now>\n</function>\n</function>\n</parameter>\n</tool_call>\n</"
      "tool_call>",
      "<tool_call>\n<function=now>\nsome "
      "text\n<parameter=a>\n\n\n\n</parameter>\n<parameter=a>\n2\n"
      "</parameter>\n</function>\n</tool_call>",
      "<tool_call>\n<function=write_file>\n<parameter=text>\nx</parameter>\n\n  </parameter>\t<par "
      "y"
      "\n</parameter> </fun</parameter></function",
  };
  return answers;
}

}  // namespace octet::serve
