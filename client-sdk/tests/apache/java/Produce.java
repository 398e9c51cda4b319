import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;

/**
 * Producer with Apache's Java client. Sends messages and prints the key of each after the broker has confirmed it.
 *
 * Arguments: name server, namespace, topic, prefix of the keys, number of messages, bytes of a body, messages in one
 * request. The key is the prefix and a number from 0. The body repeats the key and "|".
 */
public class Produce {
    @SuppressWarnings("deprecation")
    public static void main(String[] args) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("interop_producer");
        producer.setNamesrvAddr(args[0]);
        if (!args[1].isEmpty()) {
            producer.setNamespace(args[1]);
        }
        producer.setSendMsgTimeout(10_000);
        producer.start();
        int count = Integer.parseInt(args[4]);
        int batch = Integer.parseInt(args[6]);
        for (int at = 0; at < count; at += batch) {
            List<Message> messages = new ArrayList<>();
            for (int number = at; number < Math.min(count, at + batch); number++) {
                messages.add(message(args[2], args[3] + number, Integer.parseInt(args[5])));
            }
            SendResult result = batch == 1 ? producer.send(messages.get(0)) : producer.send(messages);
            if (result.getSendStatus() != SendStatus.SEND_OK) {
                throw new IllegalStateException(result.toString());
            }
            messages.forEach(message -> System.out.println(message.getKeys()));
        }
        producer.shutdown();
    }

    private static Message message(String topic, String key, int size) {
        String unit = key + "|";
        byte[] body = unit.repeat(size / unit.length() + 1).substring(0, size).getBytes(StandardCharsets.UTF_8);
        Message message = new Message(topic, "java", key, body);
        message.putUserProperty("note", "ä任务\uD83E\uDD80 = ; \"");
        return message;
    }
}
