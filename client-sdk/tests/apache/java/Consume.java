import java.util.HexFormat;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;

/**
 * Consumer with Apache's Java client. Prints one line for each delivery: tag, key, body in hexadecimal digits,
 * redeliveries, run id, and the property TC_EMPTY, with tabs between them. The first delivery of a message with the tag
 * "again" fails.
 */
public class Consume {
    // The namespace of RocketMQ 4, which the old task center uses, is deprecated in this client.
    @SuppressWarnings("deprecation")
    public static void main(String[] args) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(args[3]);
        consumer.setNamesrvAddr(args[0]);
        consumer.setNamespace(args[1]);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeMessageBatchMaxSize(1);
        consumer.subscribe(args[2], args[4]);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            ConsumeConcurrentlyStatus status = ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            for (var message : messages) {
                String tag = message.getTags();
                System.out.println(String.join("\t", tag, message.getKeys(),
                    HexFormat.of().formatHex(message.getBody()), String.valueOf(message.getReconsumeTimes()),
                    text(message.getProperty("TC_RUN_ID")), text(message.getProperty("TC_EMPTY"))));
                if (tag.equals("again") && message.getReconsumeTimes() == 0) {
                    context.setDelayLevelWhenNextConsume(1);
                    status = ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return status;
        });
        consumer.start();
        Thread.currentThread().join();
    }

    private static String text(String value) {
        return value == null ? "" : value;
    }
}
