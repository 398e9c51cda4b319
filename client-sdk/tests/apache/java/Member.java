import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.zip.CRC32;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Member of a consumer group with Apache's Java client. Prints one line for each delivery: key, redeliveries, queue
 * id, tag, length and CRC-32 of the body, and the property "note" in hexadecimal digits, with tabs between them.
 *
 * The first N deliveries of a message with the tag "fail-N" fail, and all deliveries with the tag "dead". Leaves the
 * group at the end of the standard input. Arguments: name server, namespace, topic, group, maximum redeliveries.
 */
public class Member {
    // The namespace of RocketMQ 4 is deprecated in the client of version 5.
    @SuppressWarnings("deprecation")
    public static void main(String[] args) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(args[3]);
        consumer.setNamesrvAddr(args[0]);
        if (!args[1].isEmpty()) {
            consumer.setNamespace(args[1]);
        }
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeMessageBatchMaxSize(1);
        consumer.setConsumeThreadMin(8);
        consumer.setConsumeThreadMax(8);
        consumer.setMaxReconsumeTimes(Integer.parseInt(args[4]));
        consumer.setAwaitTerminationMillisWhenShutdown(10_000);
        consumer.subscribe(args[2], "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            ConsumeConcurrentlyStatus status = ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            for (MessageExt message : messages) {
                System.out.println(line(message));
                if (fails(message)) {
                    context.setDelayLevelWhenNextConsume(1);
                    status = ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return status;
        });
        consumer.start();
        while (System.in.read() >= 0) {
        }
        consumer.shutdown();
    }

    private static boolean fails(MessageExt message) {
        String tag = text(message.getTags());
        if (tag.startsWith("fail-")) {
            return message.getReconsumeTimes() < Integer.parseInt(tag.substring(5));
        }
        return tag.equals("dead");
    }

    private static String line(MessageExt message) {
        CRC32 sum = new CRC32();
        sum.update(message.getBody());
        byte[] note = text(message.getProperty("note")).getBytes(StandardCharsets.UTF_8);
        return String.join("\t", text(message.getKeys()), String.valueOf(message.getReconsumeTimes()),
            String.valueOf(message.getQueueId()), text(message.getTags()), String.valueOf(message.getBody().length),
            String.format("%08x", sum.getValue()), HexFormat.of().formatHex(note));
    }

    private static String text(String value) {
        return value == null ? "" : value;
    }
}
