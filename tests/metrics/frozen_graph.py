"""A small frozen graph with the tensor names, operations and habits of the 2015-12-05 Inception."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
WIDTH, CLASSES, EPSILON, VERSION = 24, 10, 1e-3, 8


class Layers(NamedTuple):
    """The numbers in the graph: what a test computes its outputs from by other means."""

    kernel: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    weights: np.ndarray


def write(path, seed=0, pool="pool_3"):
    """Writes the graph, with its layers' numbers, to a .pb file; returns the `Layers`."""
    random = np.random.default_rng(seed)
    draw = lambda *shape: random.normal(size=shape).astype(np.float32)
    layers = Layers(
        draw(64, 64, 3, WIDTH) / 64, draw(WIDTH), np.exp(draw(WIDTH)), draw(WIDTH, CLASSES)
    )
    graph = tf.Graph()
    with graph.as_default():
        contents = v1.placeholder(tf.string, [], "DecodeJpeg/contents")
        image = tf.raw_ops.DecodeJpeg(contents=contents, channels=3, name="DecodeJpeg")
        image = tf.raw_ops.Cast(x=image, DstT=tf.float32, name="Cast")
        axis = v1.constant(0, name="ExpandDims/dim")
        x = tf.raw_ops.ExpandDims(input=image, axis=axis, name="ExpandDims")
        size = v1.constant([299, 299], name="ResizeBilinear/size")
        x = tf.raw_ops.ResizeBilinear(images=x, size=size, name="ResizeBilinear")
        x = tf.raw_ops.Sub(x=x, y=v1.constant(128.0, name="Sub/y"), name="Sub")
        x = tf.raw_ops.Mul(x=x, y=v1.constant(1 / 128, name="Mul/y"), name="Mul")
        kernel = v1.constant(layers.kernel, name="conv/conv2d_params")
        x = tf.raw_ops.Conv2D(
            input=x, filter=kernel, strides=[1, 33, 33, 1], padding="VALID", name="conv/Conv2D"
        )
        x = _old_normalisation(x, layers)
        x = tf.raw_ops.Relu(features=x, name="conv")
        ones = [1, 1, 1, 1]
        x = tf.raw_ops.AvgPool(
            value=x, ksize=[1, 8, 8, 1], strides=ones, padding="VALID", name=pool
        )
        # As in the original, from here on for one image only.
        shape = v1.constant([1, WIDTH], name="pool_3/_reshape/shape")
        x = tf.raw_ops.Reshape(tensor=x, shape=shape, name="pool_3/_reshape")
        weights = v1.constant(layers.weights, name="softmax/weights")
        x = tf.raw_ops.MatMul(a=x, b=weights, name="softmax/logits/MatMul")
        biases = v1.constant(draw(CLASSES), name="softmax/biases")
        x = tf.raw_ops.BiasAdd(value=x, bias=biases, name="softmax/logits")
        tf.raw_ops.Softmax(logits=x, name="softmax")
    definition = graph.as_graph_def(add_shapes=True)
    definition.versions.producer = VERSION
    path.write_bytes(definition.SerializeToString())
    return layers


def _old_normalisation(x, layers):
    """BatchNormWithGlobalNormalization, which graphs of version 9 and later do not know."""
    definition = v1.GraphDef()
    definition.versions.producer = VERSION
    names = ["conv/batchnorm/in", *(f"conv/batchnorm/{i}" for i in range(4))]
    zeros = np.zeros(WIDTH, np.float32)
    for name, value in zip(names[1:], (*layers[1:3], zeros, zeros), strict=True):
        constant = definition.node.add(name=name, op="Const")
        constant.attr["dtype"].type = tf.float32.as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    placeholder = definition.node.add(name=names[0], op="Placeholder")
    placeholder.attr["dtype"].type = tf.float32.as_datatype_enum
    node = definition.node.add(
        name="conv/batchnorm", op="BatchNormWithGlobalNormalization", input=names
    )
    node.attr["T"].type = tf.float32.as_datatype_enum
    node.attr["variance_epsilon"].f = EPSILON
    node.attr["scale_after_normalization"].b = False
    return tf.import_graph_def(definition, {names[0]: x}, ["conv/batchnorm:0"], name="")[0]
