"""The operators of torch.export files that are run, and those refused for drawing random numbers.

On the list are operators that compute tensors of tensors. Not on it, on purpose: what reads memory by strides or files,
returns uninitialised memory, draws random numbers, calls Python, or has a result whose shape depends on values.
"""

__all__ = ["OPERATORS", "RANDOM"]

_OPERATORS = """
_adaptive_avg_pool2d _adaptive_avg_pool3d _log_softmax _native_batch_norm_legit _native_batch_norm_legit_no_training
_prelu_kernel _safe_softmax _scaled_dot_product_flash_attention_for_cpu _softmax _to_copy _unsafe_index _unsafe_view
_upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d
_upsample_nearest_exact3d abs acos acosh adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d add addbmm
addcdiv addcmul addmm alias all amax amin any arange argmax argmin asin asinh atan atan2 atanh avg_pool1d avg_pool2d
avg_pool3d baddbmm batch_norm bilinear bitwise_and bitwise_not bitwise_or bitwise_xor bmm broadcast_to cat ceil celu
chunk clamp clamp_max clamp_min clone col2im concat concatenate constant_pad_nd contiguous conv1d conv2d conv3d
conv_transpose1d conv_transpose2d conv_transpose3d convolution copy cos cosh cross cumprod cumsum detach detach_copy
diag diag_embed diagonal div divide dot dropout einsum elu embedding eq erf erfc exp exp2 expand expand_as expand_copy
expm1 eye feature_dropout fill flatten flip floor floor_divide fmod frac full full_like gather ge gelu glu
grid_sampler grid_sampler_2d grid_sampler_3d group_norm gt hardsigmoid hardswish hardtanh hstack im2col index
index_add index_copy index_put index_select instance_norm isfinite isinf isnan layer_norm le leaky_relu lerp
lift_fresh lift_fresh_copy linalg_cross linalg_norm linalg_vector_norm linear linspace log log10 log1p log2
log_sigmoid log_softmax logical_and logical_not logical_or logical_xor logsumexp lt masked_fill matmul max max_pool1d
max_pool2d max_pool2d_with_indices max_pool3d maximum mean meshgrid min minimum mish mm movedim mul multiply mv narrow
native_group_norm native_layer_norm ne neg new_full new_ones new_zeros norm numpy_T one_hot ones ones_like outer pad
permute permute_copy pixel_shuffle pixel_unshuffle pow prelu prod reciprocal reflection_pad1d reflection_pad2d
reflection_pad3d relu relu6 remainder repeat replication_pad1d replication_pad2d replication_pad3d reshape reshape_as
rms_norm roll rot90 round rsqrt rsub scalar_tensor scaled_dot_product_attention scatter scatter_add select select_copy
select_scatter selu sigmoid sign silu sin sinh slice slice_copy slice_scatter softmax softplus softsign split
split_with_sizes sqrt square squeeze squeeze_copy stack std std_mean sub subtract sum t tan tanh tensor_split tile to
topk transpose transpose_copy tril triu true_divide trunc type_as unbind unflatten unfold unsqueeze unsqueeze_copy
upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d
upsample_trilinear3d var var_mean view view_as view_copy vstack where zeros zeros_like
"""

_RANDOM = """
alpha_dropout bernoulli cauchy exponential feature_alpha_dropout geometric log_normal multinomial normal
normal_functional poisson rand rand_like randint randint_like randn randn_like random randperm rrelu uniform
"""

OPERATORS = frozenset(_OPERATORS.split())
"""Names in `torch.ops.aten`; one with `_` at its end, which writes into an argument, goes by the name without it."""

RANDOM = frozenset(_RANDOM.split())
"""Names of those that draw random numbers."""
