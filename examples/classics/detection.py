"""A seeded SSD-style detector with its whole post-processing in the graph, in the two forms in use."""
import numpy as np
from classic import Classic

from graph_kit import GraphBuilder, tf
from images import pictures

CLASSES = 5  # without background


def _anchors(sizes):
    """Center-form anchors [n, 4] (y, x, height, width) of the feature maps of the given sides: two shapes a cell."""
    rows = []
    for level, side in enumerate(sizes):
        step = (np.arange(side) + 0.5) / side
        y, x = np.meshgrid(step, step, indexing="ij")
        for aspect in (1.0, 2.0):
            scale = 0.15 * (level + 1)
            shape = np.broadcast_to([scale / np.sqrt(aspect), scale * np.sqrt(aspect)], (side * side, 2))
            rows.append(np.concatenate([np.stack([y.ravel(), x.ravel()], 1), shape], 1).reshape(side * side, 1, 4))
    grouped = [np.concatenate(rows[2 * i:2 * i + 2], 1).reshape(-1, 4) for i in range(len(sizes))]
    return np.concatenate(grouped).astype(np.float32)


def _decode(codes, anchors):
    """Boxes [batch, n, 4] as (ymin, xmin, ymax, xmax) from the SSD coder's offsets; scale factors 10, 10, 5, 5."""
    ay, ax, ah, aw = tf.unstack(anchors, axis=-1)
    ty, tx, th, tw = tf.unstack(codes, axis=-1)
    height, width = tf.exp(th / 5.0) * ah, tf.exp(tw / 5.0) * aw
    y, x = ty / 10.0 * ah + ay, tx / 10.0 * aw + ax
    return tf.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], -1)


def _heads(net, features, anchors_a_cell):
    """Box codes [batch, n, 4] and class logits [batch, n, classes + 1] of all levels."""
    codes, logits = [], []
    for x in features:
        for width, into, deviation in ((4, codes, 0.5), (CLASSES + 1, logits, 1.0)):
            y = net.bias(net.conv2d(x, anchors_a_cell * width, 3, 1, "SAME"), deviation=deviation)
            into.append(net.apply(lambda a, name, w=width: tf.reshape(a, tf.stack([tf.shape(a)[0], -1, w]), name=name), y,
                                  name=net.unique("Reshape")))

    def joined(parts):
        return net.apply(lambda *values, name: tf.concat(list(values), 1, name=name), *parts, name=net.unique("concat"))

    return joined(codes), joined(logits)


def ssd(small=False, suppression="combined"):
    """MobileNet-ish backbone, two feature maps, anchors decoded in the graph.

    suppression: 'combined' (CombinedNonMaxSuppression; any batch) or 'per_class' (a NonMaxSuppressionV3 a class, gathers,
    concat and TopK over all, padded to a fixed count: batch 1, as the TF1 detection zoo exports it).
    """
    size, width = (64, 8) if small else (300, 32)
    net = GraphBuilder(1512, "ssd")
    images = pictures(1, 6, size) / np.float32(127.5) - 1

    def block(x, filters, stride):
        x = net.apply(tf.nn.relu6, net.batch_norm(net.depthwise(x, 3, stride)), name=net.unique("Relu6"))
        return net.apply(tf.nn.relu6, net.batch_norm(net.conv2d(x, filters, 1, 1, "SAME")), name=net.unique("Relu6"))

    x = net.placeholder("image_tensor", [None if suppression == "combined" else 1, size, size, 3], images)
    x = net.apply(tf.nn.relu6, net.batch_norm(net.conv2d(x, width, 3, 2, "SAME")), name=net.unique("Relu6"))
    for filters, stride in ((2 * width, 1), (4 * width, 2), (4 * width, 1), (8 * width, 2), (8 * width, 1)):
        x = block(x, filters, stride)
    features = [x, block(x, 8 * width, 2)]
    anchors = _anchors([int(f.value.shape[1]) for f in features])
    codes, logits = _heads(net, features, 2)
    with net.graph.as_default():
        boxes = _decode(codes.node, tf.constant(anchors, name="anchors"))
        scores = tf.nn.softmax(logits.node)[:, :, 1:]
        if suppression == "combined":
            found = tf.image.combined_non_max_suppression(
                tf.expand_dims(boxes, 2), scores, max_output_size_per_class=8, max_total_size=12, iou_threshold=0.5,
                score_threshold=0.2)
            for tensor, name in zip(found, ("detection_boxes", "detection_scores", "detection_classes", "num_detections")):
                tf.identity(tensor, name=name)
        else:
            _per_class(boxes[0], scores[0])
    batches = (1, 3) if suppression == "combined" else (1, 1)
    cases = [{"image_tensor:0": images[i:i + b]} for i, b in enumerate(batches)]
    return Classic(net.graph_def(), cases, [f"{n}:0" for n in ("detection_boxes", "detection_scores", "detection_classes",
                                                             "num_detections")])


def _per_class(boxes, scores, per_class=8, total=12):
    """boxes [n, 4], scores [n, classes] to the padded detections of one picture."""
    kept_boxes, kept_scores, kept_classes = [], [], []
    for c in range(CLASSES):
        indices = tf.image.non_max_suppression(boxes, scores[:, c], per_class, 0.5, 0.2)
        kept_boxes.append(tf.gather(boxes, indices))
        kept_scores.append(tf.gather(scores[:, c], indices))
        kept_classes.append(tf.fill(tf.shape(indices), float(c)))
    all_scores = tf.concat(kept_scores, 0)
    count = tf.minimum(total, tf.size(all_scores))
    top, order = tf.nn.top_k(all_scores, count)

    def padded(values, name):
        rest = tf.concat([[total - count], tf.shape(values)[1:]], 0)
        return tf.identity(tf.expand_dims(tf.concat([values, tf.zeros(rest)], 0), 0), name=name)

    padded(tf.gather(tf.concat(kept_boxes, 0), order), "detection_boxes")
    padded(top, "detection_scores")
    padded(tf.gather(tf.concat(kept_classes, 0), order), "detection_classes")
    tf.identity(tf.cast(tf.reshape(count, [1]), tf.float32), name="num_detections")
