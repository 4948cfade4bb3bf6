// The library: everything that the command line does. It never prints and never exits; failures
// are values, progress goes to a sink. Link awq::awq (find_package(awq)).
#pragma once

#include <awq/progress.h>
#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace awq {

// kAuto: bf16 with fp32 accumulation where the CPU multiplies bf16, else f32.
// kF16 is for a GPU, where kAuto is kBF16 and there is no kF32.
enum class ComputePrecision : std::uint8_t { kAuto, kF32, kBF16, kF16 };

// What packed linears are multiplied by: kExact as ComputePrecision says, kInt8 rounded to 8 bits
// in blocks of up to 32; kAuto is kInt8 where the model has packed linears that take it, unless
// ComputePrecision::kF32 is asked for or the CPU has only the baseline set.
enum class Activations : std::uint8_t { kAuto, kExact, kInt8 };

// What keys and values of past tokens are held in: kExact as ComputePrecision says, kF16, or kInt8
// with a scale for each token and key head.
enum class KvPrecision : std::uint8_t { kExact, kF16, kInt8 };

// What is computed with fewer bits than ComputePrecision has. docs/kernels.md has what each costs.
struct Arithmetic {
  Activations activations = Activations::kAuto;
  // Of the output head: 16, as it is, or rounded to 8 or 4. None: 8 where kAuto would be kInt8.
  std::optional<int> head_bits = std::nullopt;
  KvPrecision kv = KvPrecision::kExact;
};

// How a text becomes windows of `ctx` tokens.
enum class Bos : std::uint8_t {
  kAuto,    // tokenized once with what the tokenizer adds by itself, at the very start
  kWindow,  // every window begins with BOS, which is not scored
  kNever,   // no special tokens
};

struct Runtime {
  std::size_t threads = 0;  // 0: all CPUs this process may use
  ComputePrecision precision = ComputePrecision::kAuto;
  ProgressSink* progress = nullptr;
  // Where Generate, GenerateMany, Chat, Evaluate, Bench, Quantize and Compare compute: "cpu";
  // "cuda", the first NVIDIA GPU, or "cuda:N"; "auto", the first one if there is one with the
  // memory that this takes. The others compute on the CPU, and refuse anything else.
  std::string device = "cpu";
};

// Error: no device can be called so (Runtime::device).
Status CheckDeviceName(const std::string& name);
// The GPUs that this program has machine code for, "sm_80 sm_90a"; empty: it is built without CUDA.
std::string CudaArchitectures();

// --- Models by name ---

// Wherever these options ask for a model directory, ORG/NAME or ORG/NAME@REVISION stands for a
// model of the hub, if there is no directory of that name: it is taken from the cache of
// huggingface_hub, or downloaded into it (docs/hub.md). What looks like a path is never downloaded.

struct PullOptions {
  std::string model;               // ORG/NAME[@REVISION]
  std::vector<std::string> files;  // not empty: these files of it, and nothing else
};

struct PullReport {
  std::string directory;
  std::string commit;
  std::size_t downloaded_files = 0;  // in this call; the rest was there
  std::size_t downloaded_bytes = 0;
  double seconds = 0;
  std::string json;
};

Result<PullReport> Pull(const PullOptions& options, const Runtime& runtime = {});

// --- Calibration ---

struct Calibration {
  // "builtin": the text that comes with the program; "self": the model writes its own;
  // "builtin+self": half of the windows from each; else a .txt or .jsonl file (gzip or not).
  std::string source = "builtin";
  std::size_t samples = 128;          // windows
  std::size_t sequence_tokens = 512;  // of each; cut to what the model can take
  std::optional<Bos> bos =
      std::nullopt;        // none: windows begin with BOS where config or tokenizer name one
  std::uint64_t seed = 0;  // of the text that the model writes
};

// --- Quantizing ---

// The file formats of quantized linears: "awq-gemm", "gptq", ... (docs/formats).
std::vector<std::string> FileFormats();

struct QuantizeOptions {
  std::string model;                // a Hugging Face model directory, or ORG/NAME
  std::string output;               // must not exist
  std::string method = "awq-plus";  // or "awq-plus-polish", "awq", "gptq", "rtn"
  std::string format = "awq-gemm";  // one of FileFormats()
  int bits = 4;
  std::optional<int> group_size =
      std::nullopt;  // none: 128, 64 or 32, the first that divides all; -1: whole rows
  bool symmetric = false;
  // Makes the MLP wider by zeros, which changes no output, so that this many tensor-parallel ranks
  // can share it.
  std::optional<std::size_t> tp_pad = std::nullopt;
  Calibration calibration;  // not used by "rtn"
  std::size_t shard_bytes = std::size_t{5} << 30;
};

struct QuantizeSummary {
  std::size_t input_bytes = 0;   // of the weights
  std::size_t output_bytes = 0;  // of the weights
  std::size_t calibration_tokens = 0;
  std::string calibration;                 // where they came from
  std::size_t resumed_blocks = 0;          // taken over from an interrupted run
  std::vector<std::string> not_converted;  // linears left in 16 bits, and why
  double seconds = 0;
  std::size_t peak_resident_bytes = 0;   // mapped pages of the files included
  std::size_t peak_allocated_bytes = 0;  // without them, looked at every 20 ms
  std::size_t memory_bound_bytes = 0;    // what was promised of it before; 0 for rtn
  std::string device;                    // "cpu", or the GPU's name
  std::size_t peak_gpu_bytes = 0;        // of its memory
  std::string json;                      // the whole report, as OUT/quantization_report.json
};

// What the options say against each other, whatever the model: an output that is not named as the
// format's are, bits or groups that the format never holds. Quantize asks it first.
Status CheckUsage(const QuantizeOptions& options);
Result<QuantizeSummary> Quantize(const QuantizeOptions& options, const Runtime& runtime = {});

// --- Converting ---

// A quantized model -> the same numbers in another file format, bit for bit where it can hold them.
struct ConvertOptions {
  std::string model;   // quantized, in any of FileFormats()
  std::string output;  // must not exist
  std::string format = "awq-gemm";
  bool lossy = false;  // change what the format cannot hold, instead of refusing
  std::size_t shard_bytes = std::size_t{5} << 30;
};

// How far a conversion moved one kind of numbers at the most.
struct MovedNumbers {
  std::string what;       // "scales", "zero points", "minima" (of GGUF), "other values"
  std::size_t count = 0;  // that moved
  double largest_absolute = 0;
  double largest_relative = 0;  // of what it was, where that was not 0
};

struct ConvertSummary {
  std::string from;  // format names
  std::string to;
  std::size_t linears = 0;
  std::size_t input_bytes = 0;  // of all tensors
  std::size_t output_bytes = 0;
  std::vector<std::string> changes;  // a line a linear that changed; empty: lossless
  std::vector<MovedNumbers> moved;   // of all of them, the kinds that moved
  bool resumed = false;
  double seconds = 0;
  std::size_t peak_allocated_bytes = 0;  // looked at every 20 ms
  std::string json;
};

Status CheckUsage(const ConvertOptions& options);  // likewise
Result<ConvertSummary> Convert(const ConvertOptions& options, const Runtime& runtime = {});

// --- Measuring ---

struct EvaluateOptions {
  std::string model;
  std::string text;                               // a text file, or .jsonl as for calibration
  std::string reference;                          // a model directory to compare with; may be empty
  std::optional<std::size_t> ctx = std::nullopt;  // none: 2048, or what the model takes
  Bos bos = Bos::kAuto;
  std::optional<std::size_t> max_tokens = std::nullopt;  // look at about this many tokens only
  // Of the model, not of the reference.
  Arithmetic arithmetic = {.activations = Activations::kExact, .head_bits = 16};
};

// A figure with its 95 % bootstrap interval over windows.
struct Estimate {
  double value = 0;
  double low = 0;
  double high = 0;
};

struct EvaluateReport {
  std::size_t tokens = 0;  // predictions scored
  std::size_t ctx = 0;     // smaller than asked for where the model takes no more
  std::size_t windows = 0;
  Estimate perplexity;
  Estimate nll_nats_per_token;
  bool has_reference = false;
  Estimate reference_perplexity;
  Estimate kl_mean_nats;  // KL(reference || model), as the next two
  Estimate kl_median_nats;
  Estimate kl_p99_nats;
  Estimate top1_agreement;
  std::string device;  // "cpu", or the GPU's name
  double seconds = 0;
  std::size_t peak_resident_bytes = 0;
  std::string json;
};

Result<EvaluateReport> Evaluate(const EvaluateOptions& options, const Runtime& runtime = {});

// --- Comparing ---

// Quantizes a model in several ways, side by side over one calibration pass, and measures each
// against the original on the same tokens. Nothing is written.
struct CompareOptions {
  std::string model;
  // Those of QuantizeOptions, and "salient-act", "salient-weight", "salient-random": rtn with 1 %
  // of the channels in 16 bits (section 3.1 of the AWQ paper).
  std::vector<std::string> methods = {"rtn", "gptq", "awq", "awq-plus"};
  std::vector<int> bits = {4, 3};  // 2 to 8: every method at each
  std::optional<int> group_size = std::nullopt;
  bool symmetric = false;
  Calibration calibration;
  std::string text;  // to measure on; empty: the model writes one, as for calibration, other seed
  std::optional<std::size_t> ctx = std::nullopt;  // none: 512, or what the model takes
  std::optional<Bos> bos = std::nullopt;          // of text and tasks; none: as for calibration
  std::size_t max_tokens = 16384;                 // of the text, about
  std::vector<std::string> tasks;  // multiple-choice files: ARC, HellaSwag, PIQA, Winogrande
  std::size_t max_items = 200;     // of each task
};

struct TaskFigure {
  std::string task;     // the file's name
  std::string measure;  // "acc" or "acc_norm" (by length), whichever is usual for the task
  std::size_t items = 0;
  Estimate accuracy;    // 0 to 1
  Estimate difference;  // from the original's, paired
};

struct CompareRow {
  std::string method;  // "original" for the first
  int bits = 16;
  int group_size = 0;           // -1: whole rows; 0 for the original
  double bits_per_weight = 16;  // all told, as stored: embeddings, scales and zeros included
  Estimate perplexity;
  Estimate nll_increase_nats;   // per token, over the original's, paired
  Estimate kl_mean_nats;        // KL(original || row), as the next two
  Estimate kl_difference_nats;  // of the mean, from the first method's at the same bits, paired
  Estimate kl_p99_nats;
  Estimate top1_agreement;
  std::vector<TaskFigure> tasks;
  double seconds = 0;  // what quantizing takes by itself, without making calibration tokens
  std::size_t memory_bound_bytes = 0;  // what `Quantize` promises; 0 without calibration
};

struct CompareReport {
  std::string calibration;  // where the tokens came from; empty without calibration
  std::string text;
  std::size_t tokens = 0;  // predictions scored
  std::size_t ctx = 0;
  std::size_t windows = 0;
  std::vector<CompareRow> rows;  // the original first
  std::string footnote;          // where groups leave linears in 16 bits; else empty
  std::string device;            // "cpu", or the GPU's name
  double seconds = 0;            // of everything
  std::size_t peak_resident_bytes = 0;
  std::size_t peak_gpu_bytes = 0;  // of its memory
  std::string markdown;
  std::string csv;
  std::string json;
};

Result<CompareReport> Compare(const CompareOptions& options, const Runtime& runtime = {});

// --- Running ---

// How the next token is drawn, as transformers' parameters of these names have it, and in its
// order: repeat_penalty (repetition_penalty there), temperature, top_k, top_p, min_p.
struct Sampling {
  double temperature = 0;  // 0: always the most likely token
  std::size_t top_k = 0;   // 0: of all
  double top_p = 1;
  double min_p = 0;
  double repeat_penalty = 1;
  std::uint64_t seed = 0;
  std::vector<std::string> stop = {};  // the text ends before the first of them
};

struct GenerateOptions {
  std::string model;
  std::string prompt;
  std::size_t max_new_tokens = 128;
  Sampling sampling = {};
  // kAuto: what the tokenizer adds; kWindow: BOS, whatever the tokenizer adds; kNever: nothing.
  Bos bos = Bos::kAuto;
  Arithmetic arithmetic = {};
  bool chat = false;  // the prompt is a user's turn, put through the model's chat template
  // Where the model takes no more tokens: the older half of them goes, but for the first four, and
  // the text goes on; else the prompt is refused, or the text ends.
  bool context_shift = false;
};

struct GenerateReport {
  std::string text;
  std::size_t prompt_tokens = 0;
  std::size_t reused_tokens = 0;  // of the prompt, that had been run for another one
  std::size_t new_tokens = 0;
  std::size_t shifted_tokens = 0;  // that context_shift left behind
  // "end" (the model ended the text), "stop" (one of Sampling::stop), "length" (max_new_tokens),
  // "context" (the model takes no more tokens) or "stopped" (on_text returned false)
  std::string finish_reason;
  double prefill_seconds = 0;
  double decode_seconds = 0;
  std::string device;  // "cpu", or the GPU's name
  std::string json;
};

// `on_text` receives whole UTF-8 characters as they come; it stops the run by returning false.
Result<GenerateReport> Generate(const GenerateOptions& options, const Runtime& runtime = {},
                                const std::function<bool(std::string_view)>& on_text = {});

struct GenerateManyOptions {
  GenerateOptions each;  // for every prompt; its own is not looked at
  std::vector<std::string> prompts;
  std::size_t batch = 8;  // that run at a time: where one ends, the next begins
};

struct GenerateManyReport {
  std::vector<GenerateReport> texts;  // of each prompt, in their order; without device and json
  std::size_t prompt_tokens = 0;      // of all together, as are the next two
  std::size_t reused_tokens = 0;
  std::size_t new_tokens = 0;
  double seconds = 0;
  std::size_t cache_bytes = 0;  // of keys and values, at the most
  std::string device;           // "cpu", or the GPU's name
  std::string json;
};

// One prompt a line of the file: in one named .jsonl, objects with a string "prompt"; in any other
// the line itself. Empty lines at the end are not there. Error: no line, an empty one, one that is
// no such object; by its number.
Result<std::vector<std::string>> ReadPrompts(const std::string& path);

// Prompts that begin alike share what they begin with. Each draws random numbers of its own. The
// texts come in the order of the prompts, each as soon as it and all before it are whole; `on_text`
// stops the run by returning false, and what was not whole is "stopped". Error: a prompt that does
// not fit, by its number (the first is 1); as Generate.
Result<GenerateManyReport> GenerateMany(
    const GenerateManyOptions& options, const Runtime& runtime = {},
    const std::function<bool(std::size_t index, const GenerateReport& text)>& on_text = {});

// --- Conversations ---

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

struct ChatOptions {
  std::string model;
  std::string system;                 // the first message; empty: none
  std::size_t max_new_tokens = 512;   // of one answer
  std::size_t context_tokens = 8192;  // of the whole conversation; cut to what the model takes
  // Where the conversation no longer fits: the model is not told its oldest messages, and an answer
  // goes on without the older half of what comes after the system's message.
  bool context_shift = false;
  Sampling sampling = {};
  Arithmetic arithmetic = {};
};

struct ChatAnswer {
  std::string text;
  std::size_t prompt_tokens = 0;  // the whole conversation
  std::size_t reused_tokens = 0;  // of them, run for an earlier answer and kept
  std::size_t new_tokens = 0;
  std::size_t forgotten_messages = 0;  // that the model was not told
  std::string finish_reason;           // as GenerateReport's
  double prefill_seconds = 0;
  double decode_seconds = 0;
};

// A conversation, in the form of the model's chat template (docs/chat-templates.md). One caller at
// a time.
class Chat {
 public:
  // Error: a model without a chat template, and as Generate. The sink must outlive the chat.
  static Result<std::unique_ptr<Chat>> Open(const ChatOptions& options,
                                            const Runtime& runtime = {});
  ~Chat();
  Chat(const Chat&) = delete;
  Chat& operator=(const Chat&) = delete;

  // A user's message and the model's answer, both of which stay in the conversation; on an error
  // it is as before. `on_text` receives whole UTF-8 characters as they come, sometimes none, and
  // ends the answer by returning false: what there is of it stays.
  Result<ChatAnswer> Say(const std::string& text,
                         const std::function<bool(std::string_view)>& on_text = {});
  // Back to the beginning.
  void Reset();
  const std::vector<ChatMessage>& messages() const;
  std::size_t context_tokens() const;

  // A list of {"role", "content"}; the second takes the place of the conversation. `name` stands in
  // errors.
  std::string ToJson() const;
  Result<void> FromJson(const std::string& json, const std::string& name);

 private:
  struct Parts;
  explicit Chat(std::unique_ptr<Parts> parts);
  Result<ChatAnswer> Answer(const std::function<bool(std::string_view)>& on_text);
  std::unique_ptr<Parts> parts_;
};

// --- Speed ---

struct BenchOptions {
  std::string model;
  // A row of prefill for each; empty: 128 and 512, cut to the model's context.
  std::vector<std::size_t> prompt_tokens = {};
  // Of each sequence, after the first prompt; none: 64, cut likewise.
  std::optional<std::size_t> new_tokens = std::nullopt;
  std::vector<std::size_t> batch = {1};   // a row of decode for each
  std::vector<std::size_t> threads = {};  // all of it for each; empty: Runtime's
  std::size_t repeats = 5;
  Arithmetic arithmetic = {};
};

// The median of all repeats, and the least and the most.
struct SpeedFigure {
  double median = 0;
  double least = 0;
  double most = 0;
};

struct BenchRow {
  bool decode = false;  // else prefill
  std::size_t prompt_tokens = 0;
  std::size_t new_tokens = 0;
  std::size_t batch = 1;  // sequences that are decoded together
  std::size_t threads = 0;
  SpeedFigure tokens_per_second = {};  // of all sequences together
  double read_bytes_per_second = 0;
  double operations_per_second = 0;          // multiplications and additions with weights
  double machine_read_bytes_per_second = 0;  // median, around all repeats with these threads
  // Of what reading memory, or a product of oneDNN of the prompt's tokens with one matrix of this
  // model in the same arithmetic, reached right before and after each repeat; 0: not measured.
  double share_of_reading = 0;
  double share_of_product = 0;
};

struct BenchReport {
  std::vector<BenchRow> rows;
  std::string arithmetic;               // "bf16", "f16", "f32" or "int8"
  std::string device;                   // "cpu", or the GPU's name
  std::string instruction_set;          // that packed weights are multiplied with, on a CPU
  std::size_t weight_bytes = 0;         // that each step reads
  std::size_t kv_bytes_per_token = 0;   // of keys and values, in all layers
  double first_token_seconds = 0;       // to load it and answer a prompt of one token
  std::size_t peak_resident_bytes = 0;  // before the memory for measuring the machine was taken
  std::string markdown;
  std::string json;
};

// Error: lengths asked for that are longer than the model's context.
Result<BenchReport> Bench(const BenchOptions& options, const Runtime& runtime = {});

struct TokenizeOptions {
  std::string directory;  // tokenizer files are enough
  std::string text;       // this text, or
  std::string file;       // the contents of this file, where it is not empty
  bool add_special_tokens = true;
};

Result<std::vector<std::int32_t>> Tokenize(const TokenizeOptions& options);

// --- Looking ---

struct InspectOptions {
  std::string model;
  std::optional<Calibration> calibration = std::nullopt;  // none: no activation statistics
  std::size_t top_channels = 5;
};

struct LinearInfo {
  std::string name;
  std::size_t out_features = 0;
  std::size_t in_features = 0;
  int bits = 16;
  std::size_t group_size = 0;  // 0 where not quantized
  std::size_t bytes = 0;
  // From quantization_report.json, where it is there: what was kept ("feedback", "awq", "rtn"), and
  // the mean squared output error on held-out tokens as a share of the output's mean square.
  std::string rounding;
  std::optional<double> relative_error = std::nullopt;
  std::optional<double> rtn_relative_error = std::nullopt;  // rounded to nearest instead
};

struct SalientChannel {
  std::size_t channel = 0;
  double mean_abs = 0;
  double over_median = 0;  // mean |x| of the channel over the median channel's
};

struct SiteInfo {
  std::string name;                      // "block 3 qkv"
  std::vector<SalientChannel> channels;  // largest first
  double top_1_percent_share = 0;        // of sum mean |x|, held by the top 1 % of the channels
};

struct InspectReport {
  std::string model_type;
  std::size_t layers = 0;
  std::size_t hidden_size = 0;
  std::size_t vocab_size = 0;
  std::size_t parameters = 0;
  std::size_t weight_bytes = 0;
  std::string quantization;  // "awq-gemm, 4 bits, group size 128"; empty if there is none
  std::vector<LinearInfo> linears;
  std::vector<SiteInfo> sites;
  std::string json;
};

Result<InspectReport> Inspect(const InspectOptions& options, const Runtime& runtime = {});

// --- Other programs ---

// Whether other programs take a model as it is, and on how many tensor-parallel ranks, by the rules
// that docs/verify.md has. Reads headers, no weights.
struct VerifyOptions {
  std::string model;
  // Of ReaderNames(): all of these must take it, and the report has them alone. Empty: at least one
  // of all.
  std::vector<std::string> required;
};

struct VerifyFinding {
  std::string where;  // a key of config.json, or a linear
  std::string expects;
  std::string found;
  std::string mend;                // what to do; empty where another finding cannot be mended
  std::vector<std::size_t> ranks;  // the numbers of ranks that it rules out; empty: all
};

struct ReaderVerdict {
  std::string name;
  std::string version;  // whose rules these are
  bool takes = false;
  std::vector<std::size_t> ranks;  // of 1, 2, 4, 8 and 16, those that work
  std::string remark;
  std::vector<VerifyFinding> findings;
};

struct VerifyReport {
  std::string format;  // "awq-gemm", "gguf"; empty: not quantized
  std::vector<ReaderVerdict> readers;
  bool satisfied = false;  // what was required takes it
  std::string json;
};

std::vector<std::string> ReaderNames();  // "vllm", "sglang", ...
Result<VerifyReport> Verify(const VerifyOptions& options, const Runtime& runtime = {});

// Sets of instructions, of all CPUs: "baseline", "neon", "avx2", ...
std::vector<std::string> InstructionSets();
// The one that our own loops run on from now on, in all of this process; a loop that is not
// compiled for it runs on the best below. "" leaves that to the environment variable AWQ_FORCE_ISA,
// and where that is empty, to the CPU. To be called before anything else. Error: there is no such
// set, or this CPU lacks it.
Status UseInstructionSet(const std::string& name);

}  // namespace awq
