// An NVIDIA GPU for PyTorch's builds for processors alone: its memory is the host's, its kernels
// are the processor's. Tensors on it are real ones on `cuda:0`, so that what a GPU refuses is
// refused: tensors of two devices in one operation, and NumPy on its memory.

#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/_log_softmax.h>
#include <ATen/ops/_log_softmax_backward_data.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/_softmax.h>
#include <ATen/ops/_softmax_backward_data.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <set>

namespace {
using c10::DeviceIndex;
using c10::DeviceType;
using c10::SymInt;
using c10::SymIntArrayRef;

const c10::Device GPU(DeviceType::CUDA, 0);
const c10::DispatchKeySet GPU_KEYS(c10::DispatchKey::CUDA);

// One device with one stream, on which everything is done as soon as it is begun.
struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::Stream only() const noexcept { return c10::Stream(c10::Stream::DEFAULT, GPU); }
  DeviceType type() const override { return DeviceType::CUDA; }
  c10::Device exchangeDevice(c10::Device) const override { return GPU; }
  c10::Device getDevice() const override { return GPU; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const noexcept override { return only(); }
  c10::Stream getDefaultStream(c10::Device) const override { return only(); }
  c10::Stream getNewStream(c10::Device, int) const override { return only(); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return only(); }
  DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, DeviceIndex) const noexcept override {}
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard)

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    auto* held = new c10::DataPtr(c10::GetCPUAllocator()->allocate(bytes));
    return {held->get(), held, [](void* p) { delete static_cast<c10::DataPtr*>(p); }, GPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }
};
Memory memory;
[[maybe_unused]] const bool registered = (c10::SetAllocator(DeviceType::CUDA, &memory), true);

struct CUDAHooks : at::CUDAHooksInterface {
  explicit CUDAHooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex current_device() const override { return 0; }
  DeviceIndex getCurrentDevice() const override { return 0; }
  DeviceIndex deviceCount() const override { return 1; }
  c10::Device getDeviceFromPtr(void*) const override { return GPU; }
  c10::Allocator* getCUDADeviceAllocator() const override { return &memory; }
  c10::Allocator* getPinnedMemoryAllocator() const override { return c10::GetCPUAllocator(); }
};
using at::CUDAHooksRegistry;
using at::RegistererCUDAHooksRegistry;
REGISTER_CUDA_HOOKS(CUDAHooks);

// A tensor of the other device in the same memory, which it keeps alive.
at::Tensor relabelled(const at::Tensor& x, DeviceType type) {
  const bool to_gpu = type == DeviceType::CUDA;
  c10::DataPtr pointer(
      const_cast<void*>(x.storage().data()),
      new c10::Storage(x.storage()),
      [](void* p) { delete static_cast<c10::Storage*>(p); },
      to_gpu ? GPU : c10::Device(DeviceType::CPU));
  c10::Allocator* allocator = to_gpu ? &memory : c10::GetCPUAllocator();
  c10::Storage storage(
      c10::Storage::use_byte_size_t(), x.storage().nbytes(), std::move(pointer), allocator, true);
  const auto keys = to_gpu ? GPU_KEYS : c10::DispatchKeySet(c10::DispatchKey::CPU);
  auto made = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), keys, x.dtype());
  made.unsafeGetTensorImpl()->set_storage_offset(x.storage_offset());
  made.unsafeGetTensorImpl()->set_sizes_and_strides(x.sizes(), x.strides());
  if (x.is_conj()) made._set_conj(true);
  return made;
}

// The tensors of one operation, as they were given and as the processor sees them.
struct Seen {
  std::vector<std::pair<at::Tensor, at::Tensor>> pairs;
  bool foreign = false;  // whether a tensor of the host is among them, numbers aside

  at::Tensor on_host(const at::Tensor& x) {
    if (!x.defined()) return x;
    if (!x.is_cuda()) {
      foreign = foreign || x.dim() > 0;
      return x;
    }
    for (const auto& [given, host] : pairs)
      if (given.is_same(x)) return host;
    pairs.emplace_back(x, relabelled(x, DeviceType::CPU));
    return pairs.back().second;
  }

  at::Tensor on_gpu(const at::Tensor& x) const {
    if (!x.defined() || x.is_cuda()) return x;
    for (const auto& [given, host] : pairs)
      if (host.is_same(x)) return given;
    return relabelled(x, DeviceType::CUDA);
  }

  // An `out` that was resized has memory of its own now.
  void take_over() const {
    for (const auto& [given, host] : pairs) {
      if (given.sizes().equals(host.sizes())) continue;
      const auto fresh = relabelled(host, DeviceType::CUDA);
      auto* tensor = given.unsafeGetTensorImpl();
      tensor->set_storage_keep_dtype(fresh.storage());
      tensor->set_storage_offset(fresh.storage_offset());
      tensor->set_sizes_and_strides(fresh.sizes(), fresh.strides());
    }
  }
};

c10::IValue on_host(const c10::IValue& value, Seen& seen) {
  if (value.isTensor()) return seen.on_host(value.toTensor());
  if (value.isTensorList()) {
    std::vector<at::Tensor> list;
    for (const at::Tensor x : value.toTensorList()) list.push_back(seen.on_host(x));
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> list;
    for (const std::optional<at::Tensor> x : value.toOptionalTensorList())
      list.push_back(x ? std::optional<at::Tensor>(seen.on_host(*x)) : std::nullopt);
    return list;
  }
  if (value.isDevice() && value.toDevice().is_cuda()) return c10::Device(DeviceType::CPU);
  return value;
}

c10::IValue on_gpu(const c10::IValue& value, const Seen& seen) {
  if (value.isTensor()) return seen.on_gpu(value.toTensor());
  if (!value.isTensorList()) return value;
  std::vector<at::Tensor> list;
  for (const at::Tensor x : value.toTensorList()) list.push_back(seen.on_gpu(x));
  return list;
}

// A GPU takes these from both devices: indices, and what it copies.
const std::set<std::string> MIXING{
    "aten::copy_", "aten::index", "aten::index_put_", "aten::_index_put_impl_"};

void on_processor(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  Seen seen;
  for (auto& argument : torch::jit::last(*stack, schema.arguments().size()))
    const_cast<c10::IValue&>(argument) = on_host(argument, seen);
  TORCH_CHECK(
      !seen.foreign || seen.pairs.empty() || MIXING.count(schema.name()),
      "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and "
      "cpu! (", schema.name(), ")");
  op.callBoxed(stack);
  seen.take_over();
  for (auto& returned : torch::jit::last(*stack, schema.returns().size()))
    const_cast<c10::IValue&>(returned) = on_gpu(returned, seen);
}

std::vector<int64_t> ints(SymIntArrayRef values) { return C10_AS_INTARRAYREF_SLOW(values).vec(); }

at::Tensor empty(
    SymIntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<c10::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  const auto type = c10::dtype_or_default(dtype);
  return at::detail::empty_generic(ints(size), &memory, GPU_KEYS, type, format);
}

at::Tensor empty_strided(
    SymIntArrayRef size, SymIntArrayRef stride, std::optional<at::ScalarType> dtype,
    std::optional<at::Layout>, std::optional<c10::Device>, std::optional<bool>) {
  const auto type = c10::dtype_or_default(dtype);
  return at::detail::empty_strided_generic(ints(size), ints(stride), &memory, GPU_KEYS, type);
}

at::Tensor as_strided(
    const at::Tensor& self, SymIntArrayRef size, SymIntArrayRef stride,
    std::optional<SymInt> offset) {
  std::optional<int64_t> start;
  if (offset) start = offset->guard_int(__FILE__, __LINE__);
  return at::native::as_strided_tensorimpl(self, ints(size), ints(stride), start);
}

at::Tensor view(const at::Tensor& self, SymIntArrayRef size) {
  return at::native::view(self, ints(size));
}

at::Tensor reshape_alias(const at::Tensor& self, SymIntArrayRef size, SymIntArrayRef stride) {
  return at::native::_reshape_alias(self, ints(size), ints(stride));
}

at::Tensor& set_storage(
    at::Tensor& self, at::Storage source, SymInt offset, SymIntArrayRef size,
    SymIntArrayRef stride) {
  const auto start = offset.guard_int(__FILE__, __LINE__);
  return at::native::set_storage_cpu_(self, source, start, ints(size), ints(stride));
}

// Attention by products of matrices: of fused kernels a processor has others.
int64_t attention(
    const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
    double, bool, std::optional<double>, bool) {
  return 0;
}

// Those that bring half precision to float32 on the way, as only CUDA's do.
template <typename Softmax>
at::Tensor widened(const at::Tensor& self, bool half_to_float, Softmax softmax) {
  const auto x = relabelled(self, DeviceType::CPU);
  return relabelled(softmax(half_to_float ? x.to(at::kFloat) : x), DeviceType::CUDA);
}

at::Tensor softmax(const at::Tensor& self, int64_t dim, bool half_to_float) {
  return widened(self, half_to_float, [=](at::Tensor x) { return at::_softmax(x, dim, false); });
}

at::Tensor log_softmax(const at::Tensor& self, int64_t dim, bool half_to_float) {
  return widened(
      self, half_to_float, [=](at::Tensor x) { return at::_log_softmax(x, dim, false); });
}

template <typename Backward>
at::Tensor narrowed(
    const at::Tensor& gradient, const at::Tensor& output, at::ScalarType type, Backward backward) {
  const auto made = backward(
      relabelled(gradient, DeviceType::CPU), relabelled(output, DeviceType::CPU),
      output.scalar_type());
  return relabelled(made.to(type), DeviceType::CUDA);
}

at::Tensor softmax_backward(
    const at::Tensor& gradient, const at::Tensor& output, int64_t dim, at::ScalarType type) {
  return narrowed(gradient, output, type, [=](at::Tensor g, at::Tensor y, at::ScalarType own) {
    return at::_softmax_backward_data(g, y, dim, own);
  });
}

at::Tensor log_softmax_backward(
    const at::Tensor& gradient, const at::Tensor& output, int64_t dim, at::ScalarType type) {
  return narrowed(gradient, output, type, [=](at::Tensor g, at::Tensor y, at::ScalarType own) {
    return at::_log_softmax_backward_data(g, y, dim, own);
  });
}

TORCH_LIBRARY_IMPL(_, CUDA, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_processor>());
}

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("as_strided", as_strided);
  m.impl("view", view);
  m.impl("_reshape_alias", reshape_alias);
  m.impl("unfold", at::native::unfold);
  m.impl("set_.source_Storage",
         static_cast<at::Tensor& (*)(at::Tensor&, at::Storage)>(at::native::set_));
  m.impl("set_.source_Storage_storage_offset", set_storage);
  m.impl("set_.source_Tensor", at::native::set_tensor_);
  m.impl("_fused_sdp_choice", attention);
  m.impl("_softmax", softmax);
  m.impl("_softmax_backward_data", softmax_backward);
  m.impl("_log_softmax", log_softmax);
  m.impl("_log_softmax_backward_data", log_softmax_backward);
  auto& dispatcher = c10::Dispatcher::singleton();
  // Written for any device, these would look for CUDA's libraries.
  const std::set<std::string> of_libraries{
      "aten::copy_", "aten::convolution", "aten::convolution_backward"};
  for (const auto& name : dispatcher.getAllOpNames()) {
    const auto op = dispatcher.findOp(name);
    const bool on_cpu = op && op->hasKernelForDispatchKey(c10::DispatchKey::CPU);
    if (name.getNamespace() != std::optional<std::string_view>("aten")) continue;
    if (!(on_cpu || of_libraries.count(name.name) > 0)) continue;
    if (op->hasKernelForDispatchKey(c10::DispatchKey::CUDA)) continue;
    const auto full = name.name.substr(6) + (name.overload_name.empty() ? "" : ".") + name.overload_name;
    m.impl(full.c_str(), torch::CppFunction::makeFromBoxedFunction<&on_processor>());
  }
}
}  // namespace
